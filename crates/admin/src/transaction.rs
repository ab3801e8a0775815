//! How a call reads and writes: in a transaction of its own, or in the one that it is a part of; and what it may see.
use crate::Api;
use crate::access::Scoped;
use crate::dispatch::Call;
use crate::failure::Outcome;
use schema::Error;
use std::cell::RefCell;
use store::{Reader, Writer};

/// A transaction under way that several calls share.
pub(crate) trait Transaction {
    fn run(&self, work: &mut dyn FnMut(&mut dyn Writer));
}

impl Transaction for RefCell<&mut (dyn Writer + '_)> {
    fn run(&self, work: &mut dyn FnMut(&mut dyn Writer)) {
        work(&mut **self.borrow_mut());
    }
}

/// Runs `work` once within the transaction.
fn within<T>(transaction: &dyn Transaction, work: impl FnOnce(&mut dyn Writer) -> Outcome<T>) -> Outcome<T> {
    let (mut work, mut outcome) = (Some(work), None);
    transaction.run(&mut |writer| outcome = work.take().map(|work| work(writer)));
    outcome.unwrap_or_else(|| Err(Error::database("the transaction did not run").into()))
}

impl Api {
    pub(crate) fn reading<T>(&self, call: &Call<'_>, work: impl FnOnce(&dyn Reader) -> Outcome<T>) -> Outcome<T> {
        let seeing = |reader: &dyn Reader| match call.caller.scope() {
            Some(scope) => work(&Scoped::new(reader, scope, &self.catalog)),
            None => work(reader),
        };
        match call.transaction {
            Some(transaction) => within(transaction, |writer| seeing(writer.reader())),
            None => self.store.reading(seeing),
        }
    }

    pub(crate) fn writing<T>(&self, call: &Call<'_>, work: impl FnOnce(&mut dyn Writer) -> Outcome<T>) -> Outcome<T> {
        let seeing = |writer: &mut dyn Writer| {
            let done = match call.caller.scope() {
                Some(scope) => work(&mut Scoped::new(writer, scope, &self.catalog)),
                None => work(writer),
            };
            // Traffic comes in between, as before the schemas are asked: what follows is half of a small change. Others that write
            // wait a millisecond longer.
            pace::breathe();
            done
        };
        match call.transaction {
            Some(transaction) => within(transaction, seeing),
            None => self.store.writing(seeing),
        }
    }
}
