//! The tournament against a search through all scores.

use crate::tournament::Tournament;

/// A sequence of numbers that looks random and is the same every time.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
fn the_winner_is_the_lowest_of_all_scores() {
    let mut seed = 1;
    for leaves in [1, 2, 3, 7, 8, 33, 100] {
        let tournament = Tournament::new(leaves);
        let mut scores: Vec<Option<f64>> = vec![None; leaves];
        assert_eq!(tournament.best(&|_| false), None);
        for _ in 0..500 {
            let leaf = random(&mut seed) as usize % leaves;
            let score = match random(&mut seed) % 10 {
                0 => None,
                1 => Some(f64::NEG_INFINITY),
                _ => Some(random(&mut seed) as f64 / 1e6 - 1000.0),
            };
            scores[leaf] = score;
            tournament.set(leaf, score, true);
            let excluded = [random(&mut seed) as usize % leaves, random(&mut seed) as usize % leaves];
            let left = (0..leaves).filter(|leaf| !excluded.contains(leaf));
            let lowest = left.filter_map(|leaf| scores[leaf]).min_by(f64::total_cmp);
            let best = tournament.best(&|leaf| excluded.contains(&leaf));
            assert_eq!(best.and_then(|best| scores[best]), lowest, "{leaves} leaves");
        }
    }
}

#[test]
fn equals_are_met_in_turn_for_ever() {
    let tournament = Tournament::new(3);
    tournament.rebuild(|_| Some(1.0), 3);
    let mut counts = [0_u32; 3];
    for _ in 0..200_000 {
        let best = tournament.best(&|_| false).unwrap();
        counts[best] += 1;
        tournament.take_turn(best);
    }
    assert!(counts.iter().all(|&count| count.abs_diff(66_667) < 10), "{counts:?}");
}

#[test]
fn writers_at_the_same_time_leave_the_right_winner() {
    for round in 0..20_u64 {
        let tournament = Tournament::new(16);
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let tournament = &tournament;
                scope.spawn(move || {
                    let mut seed = round * 4 + thread;
                    for step in 0..500 {
                        // Each leaf has one writer, whose last score is its number.
                        let leaf = (random(&mut seed) % 4 * 4 + thread) as usize;
                        tournament.set(leaf, Some(random(&mut seed) as f64), step % 2 == 0);
                    }
                    (0..4).for_each(|leaf| {
                        tournament.set(leaf * 4 + thread as usize, Some((leaf * 4) as f64 + thread as f64), true)
                    });
                });
            }
        });
        let mut met = Vec::new();
        while let Some(best) = tournament.best(&|leaf| met.contains(&leaf)) {
            met.push(best);
        }
        assert_eq!(met, (0..16).collect::<Vec<_>>());
    }
}
