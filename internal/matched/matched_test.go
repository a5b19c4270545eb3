package matched_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"ipsec_path_exporter/internal/matched"
)

func TestPairs(t *testing.T) {
	one := matched.Rule{Alpha: 1e-4, PriorLost: 1, PriorSent: 5, Least: 3}
	two := matched.Rule{Alpha: 1e-5, PriorLost: 2, PriorSent: 6, Packets: 2, Least: 9}
	for _, tt := range []struct {
		rule       matched.Rule
		lost, sent int
		want       int
	}{
		{one, 0, 0, 6},          // 1/5
		{one, 0, 8, 4},          // 1/13
		{one, 0, 1000, 3},       // never fewer
		{one, 10, 25, 10},       // 37 %
		{one, 10, 10, 30},       // 73 %
		{two, 0, 0, 20},         // 1/3 of the packets, 5/9 of the probes
		{two, 5, 14, 21},        // 35 %
		{two, 0, 1000, 9},       // never fewer
		{two, 14, 14, 283},      // 80 %
		{one, 4, -1, 1<<31 - 1}, // a loss of 125 % demands more pairs than there are
	} {
		if got := tt.rule.Pairs(tt.rule.Loss(tt.lost, tt.sent)); got != tt.want {
			t.Errorf("%+v: %d of %d lost: %d pairs, want %d", tt.rule, tt.lost, tt.sent, got, tt.want)
		}
	}
}

// TestPairsHoldAlpha: of the numbers that keep the chance of independent loss below alpha, Pairs
// returns the least.
func TestPairsHoldAlpha(t *testing.T) {
	for _, alpha := range []float64{1e-2, 1e-4, 1e-5} {
		rule := matched.Rule{Alpha: alpha, PriorLost: 1, PriorSent: 5}
		for loss := 0.01; loss < 0.99; loss += 0.013 {
			n := float64(rule.Pairs(loss))
			if math.Pow(loss, n) > alpha*1.000001 || math.Pow(loss, n-1) < alpha*0.999999 {
				t.Errorf("alpha %g, loss %.3f: %.0f pairs", alpha, loss, n)
			}
		}
	}
}

// TestLossAloneConvincesRarely plays runs of pairs on paths where both halves are lost alike.
func TestLossAloneConvincesRarely(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const runs = 200000
	rule := matched.Rule{Alpha: 1e-3, PriorLost: 1, PriorSent: 5, Least: 3}
	for _, loss := range []float64{0.05, 0.2, 0.4} {
		convinced := 0
		for range runs {
			lost, sent := 0, 0
			for range 34 {
				sent++
				if random.Float64() < loss {
					lost++
				}
				if random.Float64() >= loss {
					break
				}
				if rule.Convincing(sent, sent-lost, rule.Loss(lost, sent)) {
					convinced++
					break
				}
			}
		}
		// The estimate of the loss changes during a run: ten times alpha is the limit.
		t.Logf("loss %.2f: %d of %d", loss, convinced, runs)
		if convinced > runs/100 {
			t.Errorf("loss %.2f: %d of %d runs convince", loss, convinced, runs)
		}
	}
}

func TestConvincing(t *testing.T) {
	rule := matched.Rule{Alpha: 1e-4, PriorLost: 1, PriorSent: 5, Least: 9}
	for _, tt := range []struct {
		missed, answered int
		loss             float64
		want             bool
	}{
		{9, 9, 0.1, true},
		{8, 8, 0.1, false},
		{9, 2, 0.1, true},
		{9, 1, 0.1, false},
		{13, 13, 0.5, false},
		{14, 13, 0.5, true},
	} {
		if got := rule.Convincing(tt.missed, tt.answered, tt.loss); got != tt.want {
			t.Errorf("%d missed, %d answered, loss %.1f: %t", tt.missed, tt.answered, tt.loss, got)
		}
	}
}

func TestHeads(t *testing.T) {
	for seed := range uint64(50) {
		heads, runs := 0, 1
		const n = 4096
		for i := range uint64(n) {
			if matched.Heads(seed, i) {
				heads++
			}
			if i > 0 && matched.Heads(seed, i) != matched.Heads(seed, i-1) {
				runs++
			}
		}
		// Five standard deviations of a fair coin.
		if math.Abs(float64(heads)-n/2) > 160 || math.Abs(float64(runs)-n/2) > 160 {
			t.Errorf("seed %d: %d heads in %d runs of %d tosses", seed, heads, runs, n)
		}
	}
}

func TestPatience(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct{ rtt, least, want time.Duration }{
		{0, 200 * ms, time.Second},
		{10 * ms, 200 * ms, 200 * ms},
		{60 * ms, 200 * ms, 240 * ms},
		{60 * ms, 300 * ms, 300 * ms},
		{800 * ms, 300 * ms, 2 * time.Second},
		{1600 * ms, 300 * ms, 2 * time.Second},
		{3000 * ms, 300 * ms, 3750 * ms},
		{9000 * ms, 300 * ms, 5 * time.Second},
	} {
		if got := matched.Patience(tt.rtt, tt.least); got != tt.want {
			t.Errorf("round trip %v, at least %v: %v, want %v", tt.rtt, tt.least, got, tt.want)
		}
	}
}
