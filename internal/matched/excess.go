package matched

import "math"

// Exceeds reports whether more than this share is lost, beyond chance: had each of sent packets been
// lost independently with this probability, as many as lost of them, or more, would be lost with the
// probability alpha at most (one-sided exact binomial test).
func Exceeds(lost, sent int, share, alpha float64) bool {
	return lost > 0 && tail(lost, sent, share) <= alpha
}

// FallsShort reports whether fewer of one kind of packets are lost than of others, beyond chance: were
// the same share of both lost, as few of sent as lost, or fewer, would be among all lost packets with
// the probability alpha at most (one-sided exact test of Fisher).
func FallsShort(lost, sent, othersLost, others int, alpha float64) bool {
	all, sum := lost+othersLost, 0.0
	for i := max(0, all-others); i <= lost; i++ {
		sum += math.Exp(logChoose(sent, i) + logChoose(others, all-i) - logChoose(sent+others, all))
	}
	return sent > 0 && sum <= alpha
}

// tail returns the probability of k or more successes in n trials with the probability p each.
func tail(k, n int, p float64) (sum float64) {
	switch {
	case k <= 0 || p >= 1:
		return 1
	case p <= 0:
		return 0
	}
	for i := k; i <= n; i++ {
		sum += math.Exp(logChoose(n, i) + float64(i)*math.Log(p) + float64(n-i)*math.Log1p(-p))
	}
	return sum
}

// logChoose returns the logarithm of the number of ways to choose k of n.
func logChoose(n, k int) float64 { return logFactorial(n) - logFactorial(k) - logFactorial(n-k) }

func logFactorial(n int) float64 {
	l, _ := math.Lgamma(float64(n + 1))
	return l
}
