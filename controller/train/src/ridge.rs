//! Ridge regression by the normal equations, in 64 bits: the closed-form floor that every network here has to beat.

/// A least-squares fit cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the normal equations have no solution: feature {0} follows from those before it, and there is no penalty")]
pub struct Singular(pub usize);

/// Weights `w` that make `|y - x w|^2 + sum(penalty * w^2)` smallest, from the second moments of `x` (`n` x `n`, row by row; the
/// upper half is not read) and the products of `x` with each outcome (`n` numbers each). One solution per outcome.
///
/// # Errors
/// [`Singular`].
pub fn solve(mut moments: Vec<f64>, penalty: &[f64], outcomes: &[Vec<f64>]) -> Result<Vec<Vec<f64>>, Singular> {
    let n = penalty.len();
    assert_eq!(moments.len(), n * n, "invariant: one row and one column per feature");
    for (i, p) in penalty.iter().enumerate() {
        moments[i * n + i] += p;
    }
    factor(&mut moments, n)?;
    Ok(outcomes.iter().map(|outcome| substituted(&moments, n, outcome.clone())).collect())
}

/// Cholesky factor of a symmetric positive matrix, lower half, in place (Golub and Van Loan, "Matrix Computations", section 4.2).
fn factor(matrix: &mut [f64], n: usize) -> Result<(), Singular> {
    for i in 0..n {
        let whole = matrix[i * n + i];
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| matrix[i * n + k] * matrix[j * n + k]).sum();
            let rest = matrix[i * n + j] - dot;
            if i != j {
                matrix[i * n + j] = rest / matrix[j * n + j];
            } else if rest > 1e-13 * whole {
                matrix[i * n + i] = rest.sqrt();
            } else {
                return Err(Singular(i));
            }
        }
    }
    Ok(())
}

/// The solution `x` of `A x = b` from the Cholesky factor of `A`; `b` is given as `x`.
fn substituted(factor: &[f64], n: usize, mut x: Vec<f64>) -> Vec<f64> {
    for i in 0..n {
        let dot: f64 = (0..i).map(|k| factor[i * n + k] * x[k]).sum();
        x[i] = (x[i] - dot) / factor[i * n + i];
    }
    for i in (0..n).rev() {
        let dot: f64 = (i + 1..n).map(|k| factor[k * n + i] * x[k]).sum();
        x[i] = (x[i] - dot) / factor[i * n + i];
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equations_are_solved_and_a_penalty_shrinks() {
        let moments = vec![4.0, 0.0, 2.0, 3.0];
        let x = solve(moments.clone(), &[0.0, 0.0], &[vec![8.0, 7.0], vec![4.0, 2.0]]).unwrap();
        assert!((x[0][0] - 1.25).abs() < 1e-12 && (x[0][1] - 1.5).abs() < 1e-12, "{x:?}");
        assert!((x[1][0] - 1.0).abs() < 1e-12 && x[1][1].abs() < 1e-12, "{x:?}");
        let shrunk = solve(moments, &[1e6, 1e6], &[vec![8.0, 7.0]]).unwrap();
        assert!(shrunk[0].iter().all(|w| w.abs() < 1e-5));
    }

    #[test]
    fn a_feature_that_says_the_same_twice_is_named_unless_penalised() {
        let twice = vec![2.0, 0.0, 2.0, 2.0];
        assert_eq!(solve(twice.clone(), &[0.0; 2], &[vec![1.0, 1.0]]), Err(Singular(1)));
        let x = solve(twice, &[1e-6; 2], &[vec![1.0, 1.0]]).unwrap();
        assert!((x[0][0] - 0.25).abs() < 1e-3 && (x[0][1] - 0.25).abs() < 1e-3);
    }
}
