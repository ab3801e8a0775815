//! Writes pairs of rows into the file named on standard input and says which are done, until it is killed. The tests of the
//! store kill it: every write that it has acknowledged must be there.

use entities::{Catalog, RouterFlavor};
use serde_json::json;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use store::{Layout, Sqlite, Store, Ttl, system_clock};
use uuid::Uuid;

fn main() -> Result<(), Box<dyn Error>> {
    let mut file = String::new();
    std::io::stdin().read_line(&mut file)?;
    let layout = Arc::new(Layout::of(&Catalog::new(RouterFlavor::default(), Vec::new())));
    let store: Arc<dyn Store> =
        Arc::new(Sqlite::open(Path::new(file.trim()), layout, system_clock()).map_err(|e| e.to_string())?);
    let mut out = std::io::stdout();
    loop {
        let (service, route) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
        let written = store.writing(|w| {
            w.insert("services", json!({ "id": service, "name": service }), Ttl::Keep)?;
            w.insert("routes", json!({ "id": route, "service": { "id": service } }), Ttl::Keep)
        });
        written.map_err(|e| e.to_string())?;
        writeln!(out, "done {service}")?;
        out.flush()?;
    }
}
