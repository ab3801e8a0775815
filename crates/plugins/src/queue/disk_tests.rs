//! Tests of what `queue` keeps on disk.

use super::disk::forget_old;
use super::tests::{Sink, parameters};
use super::*;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;
use tokio::time::sleep;

const A_WHILE: Duration = Duration::from_secs(200);

/// A folder of a test's own.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("silverback-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// All files in it, but those that are only held locked.
    fn files(&self) -> Vec<PathBuf> {
        fn files(folder: &Path) -> Vec<PathBuf> {
            let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            all.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
        }
        let mut files = files(&self.0);
        files.retain(|path| !path.ends_with("lock"));
        files.sort();
        files
    }

    fn bytes(&self) -> u64 {
        self.files().iter().map(|path| fs::metadata(path).unwrap().len()).sum()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process of its own that keeps on disk there, with a clock that moves by itself where all wait.
fn process(folder: &Folder, test: impl AsyncFnOnce(Arc<Queues>)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        test(Arc::new(Queues { root: Some(folder.0.clone()), ..Queues::on(Some(Handle::current())) })).await;
    });
}

fn small(spill: u64) -> Parameters {
    parameters(serde_json::json!({
        "max_entries": 8, "max_spill_bytes": spill, "max_retry_time": 1, "max_retry_delay": 1,
    }))
}

fn entries(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("e{number}")).collect()
}

async fn push(queue: &Arc<Queue>, numbers: std::ops::Range<usize>) {
    for entry in entries(numbers) {
        queue.push(entry);
        sleep(Duration::from_millis(1)).await;
    }
}

fn sent(sink: &Sink) -> Vec<String> {
    sink.sent().into_iter().flat_map(|(_, batch)| batch.split(',').map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn what_the_memory_cannot_hold_waits_on_disk_and_is_sent_in_order() {
    let folder = Folder::new("waits");
    process(&folder, async |queues| {
        let sink = Sink::failing(usize::MAX);
        let queue = queues.named("q secret", "q", small(100_000), sink.clone());
        push(&queue, 0..3000).await;
        sleep(A_WHILE).await;
        assert!(lock(&queue.state).waiting.len() <= 4 && queue.unsent() <= 8, "{}", queue.unsent());
        let files = folder.files();
        assert!(files.len() > 1, "{files:?}");
        for file in &files {
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(file), mode(file.parent().unwrap())), (0o600, 0o700), "{}", file.display());
            assert!(!file.display().to_string().contains("secret"), "{}", file.display());
        }
        *lock(&sink.failures) = 0;
        sleep(A_WHILE).await;
        assert_eq!(sent(&sink), entries(0..3000));
        assert_eq!((queues.lost(), folder.files()), (0, Vec::new()));
        // From then on without the disk.
        push(&queue, 3000..3002).await;
        sleep(A_WHILE).await;
        assert_eq!(sent(&sink)[3000..], entries(3000..3002));
    });
    // Nothing is left of the process but the queue's folder.
    let queue = fs::read_dir(&folder.0).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::read_dir(queue).unwrap().count(), 0);
}

#[test]
fn what_does_not_fit_onto_the_disk_is_dropped_and_counted() {
    let folder = Folder::new("bound");
    process(&folder, async |queues| {
        let sink = Sink::failing(usize::MAX);
        let queue = queues.named("q", "q", small(100), sink.clone());
        push(&queue, 0..50).await;
        sleep(A_WHILE).await;
        assert!((80..=100).contains(&folder.bytes()), "{}", folder.bytes());
        let dropped = queues.lost() as usize;
        assert!(dropped > 20, "{dropped}");
        *lock(&sink.failures) = 0;
        sleep(A_WHILE).await;
        assert_eq!(sent(&sink), entries(0..50 - dropped), "the oldest stay, without a gap");
        push(&queue, 50..52).await;
        sleep(A_WHILE).await;
        assert_eq!(sent(&sink)[50 - dropped..], entries(50..52));
        assert_eq!(queues.lost() as usize, dropped);
    });
}

#[test]
fn the_next_process_sends_what_the_last_one_could_not() {
    let folder = Folder::new("restart");
    process(&folder, async |queues| {
        let queue = queues.named("q", "q", small(100_000), Sink::failing(usize::MAX));
        let other = queues.named("other", "other", small(100_000), Sink::failing(usize::MAX));
        push(&queue, 0..30).await;
        push(&other, 100..102).await;
        assert_eq!(queues.flush(Duration::ZERO), 0);
    });
    process(&folder, async |queues| {
        // Down again, and ended without a warning: what was on disk stays there.
        let queue = queues.named("q", "q", small(100_000), Sink::failing(usize::MAX));
        sleep(A_WHILE).await;
        push(&queue, 30..40).await;
        sleep(A_WHILE).await;
    });
    process(&folder, async |queues| {
        let sink = Sink::failing(0);
        let queue = queues.named("q", "q", small(100_000), sink.clone());
        sleep(A_WHILE).await;
        push(&queue, 40..42).await;
        sleep(A_WHILE).await;
        assert_eq!(sent(&sink), entries(0..42));
        assert_eq!(queues.flush(Duration::ZERO), 0);
        let other = Sink::failing(0);
        let _held = queues.named("other", "other", small(100_000), other.clone());
        sleep(A_WHILE).await;
        assert_eq!(sent(&other), entries(100..102));
    });
    assert_eq!(folder.files(), Vec::<PathBuf>::new());
}

#[test]
fn a_worker_that_ends_after_the_next_began_leaves_it_what_it_has() {
    let folder = Folder::new("reload");
    process(&folder, async |queues| {
        let next = Arc::new(Queues { root: Some(folder.0.clone()), ..Queues::on(Some(Handle::current())) });
        let old = queues.named("q", "q", small(100_000), Sink::failing(usize::MAX));
        let sink = Sink::failing(0);
        let new = next.named("q", "q", small(100_000), sink.clone());
        push(&old, 0..30).await;
        push(&new, 30..31).await;
        sleep(A_WHILE).await;
        assert_eq!(sent(&sink), entries(30..31), "the old one holds what it has");
        assert_eq!(queues.flush(Duration::ZERO), 0);
        // As the end of the process does.
        lock(old.disk().unwrap()).unlock();
        sleep(A_WHILE).await;
        assert_eq!(sent(&sink)[1..], entries(0..30));
    });
}

/// Wants no entry that says so.
struct Choosy(Mutex<Vec<String>>);

impl Sender for Choosy {
    fn send<'a>(&'a self, batch: &'a Entries) -> Sending<'a> {
        Box::pin(async {
            let text = String::from_utf8_lossy(&batch.joined(b"", b"", b"")).into_owned();
            if text == "e1" {
                return Err(Failure::refusal("no"));
            }
            lock(&self.0).push(text);
            Ok(())
        })
    }
}

#[test]
fn what_the_destination_refuses_holds_up_the_rest_for_no_longer_than_configured() {
    let folder = Folder::new("refused");
    process(&folder, async |queues| {
        let sink = Arc::new(Choosy(Mutex::default()));
        let queue = queues.named("q", "q", small(100_000), sink.clone());
        push(&queue, 0..4).await;
        sleep(A_WHILE).await;
        assert_eq!((lock(&sink.0).join(","), queues.lost()), ("e0,e2,e3".to_owned(), 1));
    });
}

#[test]
fn records_that_are_cut_off_or_damaged_end_their_file() {
    type Damage = fn(&Path);
    let cases: [(Damage, usize); 6] = [
        (|_| {}, 3),
        (|path| shorten(path, 1), 2),
        (|path| shorten(path, 14), 1),
        (|path| shorten(path, 39), 0),
        (|path| overwrite(path, 8 + 2, 0), 0),
        (|path| overwrite(path, 8 + 5 + 3, 255), 1),
    ];
    for (at, (damage, want)) in cases.into_iter().enumerate() {
        let folder = Folder::new("damaged");
        let mut disk = Disk::open(&folder.0, "q").unwrap();
        assert_eq!(disk.append(&[b"one..".to_vec(), b"two..".to_vec(), b"three".to_vec()], 1000).unwrap(), 3);
        damage(&folder.files()[0]);
        drop(disk);
        let mut disk = Disk::open(&folder.0, "q").unwrap();
        assert_eq!(disk.adopt(), want, "case {at}");
        let taken = disk.take();
        let read = taken.as_ref().map_or(0, |taken| taken.entries.len());
        assert_eq!(read, want, "case {at}");
        taken.iter().for_each(|taken| disk.sent(&taken.file));
        // What comes later is not behind the damage.
        assert_eq!(disk.append(&[b"four".to_vec()], 1000).unwrap(), 1);
        assert_eq!(disk.take().unwrap().entries, [b"four".to_vec()], "case {at}");
    }
}

fn shorten(path: &Path, by: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - by).unwrap();
}

fn overwrite(path: &Path, at: usize, with: u8) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] = with;
    fs::write(path, bytes).unwrap();
}

#[test]
fn what_nobody_has_taken_over_for_a_week_is_removed() {
    let folder = Folder::new("old");
    let make = |name: &str, days: u64| {
        let path = folder.0.join("queue").join(name);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("1"), "x").unwrap();
        let lock = File::create(path.join("lock")).unwrap();
        let then = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
        File::open(&path).unwrap().set_modified(then).unwrap();
        lock
    };
    let (_old, _young, used) = (make("old", 8), make("young", 6), make("used", 8));
    used.lock().unwrap();
    forget_old(&folder.0);
    let left: Vec<String> = folder.files().iter().map(|path| path.display().to_string()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.iter().all(|path| !path.contains("/old/1")), "{left:?}");
}
