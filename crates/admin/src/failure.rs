//! Why a request is not answered as it wished: an error of Kong's catalogue, or an answer made already.
use crate::Response;
use schema::Error;

#[derive(Debug)]
pub(crate) enum Failure {
    Error(Box<Error>),
    Response(Box<Response>),
}

pub(crate) type Outcome<T = Response> = Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Error(Box::new(error))
    }
}

impl From<Response> for Failure {
    fn from(response: Response) -> Self {
        Failure::Response(Box::new(response))
    }
}

impl Failure {
    pub(crate) fn not_found() -> Failure {
        Response::not_found().into()
    }

    pub(crate) fn message(status: u16, message: &str) -> Failure {
        Response::message(status, message).into()
    }

    pub(crate) fn into_response(self) -> Response {
        match self {
            Failure::Response(response) => *response,
            // What went wrong inside is for the log alone.
            Failure::Error(error) if error.is_unavailable => {
                log::error!("admin: {error}");
                Response::message(503, "The database cannot be reached; try again later")
            }
            Failure::Error(error) if error.status() >= 500 => {
                log::error!("admin: {}", error.message.as_deref().unwrap_or("an unexpected error occurred"));
                Response::message(500, "An unexpected error occurred")
            }
            Failure::Error(error) => Response::json(error.status(), &error.to_json()),
        }
    }
}
