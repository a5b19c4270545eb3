package rows

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"ipsec_path_exporter/internal/netlab/crowd"
)

// everyKind is the mix of the peers: no fault is at so many of them that the exporter would suspect
// its own uplink.
const everyKind = "clean:40,small:8,hole:7,silent_hole:4,reverse_hole:4,no_echo:4,dead:5,one_way:3,no_route:3,lossy:4," +
	"heavy_loss:3,no_udp500:3,no_udp4500:3,refused:3,no_fragments:3,prohibited:2,ikev1:3"

const (
	seeds = 3
	// holdFor is how long all verdicts have to stay right.
	holdFor = time.Minute
	// shownDifferences is the number of differences that are printed.
	shownDifferences = 20
)

// verdicts compares everything that the exporter says about 10,000 peers of all kinds with the truth,
// with three seeds.
func verdicts(ctx context.Context, l *lab) ([]Check, error) {
	var checks []Check
	for i := range uint64(seeds) {
		seed := l.Seed + i
		o, err := l.judgeAll(ctx, seed)
		if err != nil {
			return nil, err
		}
		wrong := atMost(fmt.Sprintf("seed %d: peers with a wrong verdict at the end", seed), float64(o.wrong), 0, "")
		wrong.Note = fmt.Sprintf("all right after %.0f s", o.right.Seconds())
		if o.right == 0 {
			wrong.Note = "never all right"
		}
		checks = append(checks, wrong,
			atMost(fmt.Sprintf("seed %d: peers with a diagnosis that is not theirs, at any look", seed), float64(o.accused), 0, ""))
	}
	return checks, nil
}

// An outcome is what became of one comparison.
type outcome struct {
	// wrong is the number of peers whose verdict differs from the truth at the end, accused that of
	// peers that were shown with another diagnosis than theirs at any time.
	wrong, accused int
	// right is when all verdicts were right.
	right time.Duration
}

// judgeAll measures the peers of a seed until all verdicts are right and stay so, or time is up.
func (l *lab) judgeAll(ctx context.Context, seed uint64) (outcome, error) {
	mix, err := crowd.ParseMix(everyKind)
	if err != nil {
		return outcome{}, err
	}
	peers := crowd.Config{
		Seed: seed, Count: l.count(usualPeers), IPv4: defaultPrefix, Mix: mix, Narrow: []int{1280, 1400, 1438, 1492},
		Delay:  crowd.Distribution{Low: 5 * time.Millisecond, High: 80 * time.Millisecond},
		Jitter: crowd.Distribution{Tail: time.Millisecond},
	}
	s, err := l.simulate(ctx, peers)
	if err != nil {
		return outcome{}, err
	}
	defer s.Stop()
	e, err := l.export(ctx, exporterConfig{
		peers: peers, collectors: []string{"icmp", "ike", "pmtu", "fragments", "protocols", "flows"}, interval: time.Second,
	})
	if err != nil {
		return outcome{}, err
	}
	defer e.Stop()
	truth := s.truth()
	out, accused := outcome{}, make(map[string]bool)
	limit, began := l.duration(10*time.Minute), time.Now()
	for time.Since(began) < limit && (out.right == 0 || time.Since(began) < out.right+holdFor) {
		if err := pause(ctx, lookEvery); err != nil {
			return out, err
		}
		p, err := e.page(ctx)
		if err != nil {
			return out, err
		}
		differences := l.differences(truth, p, accused)
		out.wrong, out.accused = len(differences), len(accused)
		switch {
		case out.wrong > 0:
			out.right = 0
		case out.right == 0:
			out.right = time.Since(began)
		}
		if time.Since(began) >= limit {
			l.show(differences)
		}
	}
	l.logf("seed %d: %d wrong, %d accused wrongly at any time, all right after %v", seed, out.wrong, out.accused, out.right.Round(time.Second))
	return out, nil
}

// truth are the profiles of all peers by their names in the configuration.
type truth map[string]crowd.Profile

func (s *simulator) truth() truth {
	all := make(truth, s.config.Count)
	i := 0
	for p := range s.config.Profiles {
		all[peerName(i)] = p
		i++
	}
	return all
}

// differences returns what a page says wrongly, by peer, and marks peers that it accuses wrongly unless
// accused is nil.
func (l *lab) differences(all truth, p page, accused map[string]bool) map[string]string {
	diagnoses := make(map[string][]string)
	for s := range p.samples("ipsec_path_diagnosis") {
		if s.value == 1 {
			diagnoses[s.label("peer")] = append(diagnoses[s.label("peer")], s.label("diagnosis"))
		}
	}
	reachable := p.byPeer("ipsec_path_icmp_reachable")
	byMethod := func(metric, value string) map[string]map[string]string {
		all := make(map[string]map[string]string)
		for s := range p.samples(metric) {
			peer, v := s.label("peer"), fmt.Sprint(s.value)
			if value != "" {
				v = s.label(value)
			}
			if all[peer] == nil {
				all[peer] = make(map[string]string)
			}
			all[peer][s.label("method")] = v
		}
		return all
	}
	responding, states, bytes := byMethod("ipsec_path_ike_responding", ""), byMethod("ipsec_path_mtu_state", "state"), byMethod("ipsec_path_mtu_bytes", "")
	out := make(map[string]string)
	for name, profile := range all {
		want := profile.Expect()
		got := said{sorted(diagnoses[name]), fmt.Sprint(reachable[name]), responding[name], states[name], bytes[name]}
		for _, d := range got.diagnoses {
			if accused != nil && !slices.Contains(want.Diagnoses, d) && !accused[name] {
				accused[name] = true
				l.logf("%s (%s, %s): %s", name, profile.Kind, profile.Address, d)
			}
		}
		if problem := got.against(&want); problem != "" {
			out[name] = fmt.Sprintf("%s %s: %s", profile.Kind, profile.Address, problem)
		}
	}
	return out
}

// said is what the exporter says about a peer.
type said struct {
	diagnoses                 []string
	reachable                 string
	responding, states, bytes map[string]string
}

// against returns how it differs from the truth, empty if it does not.
func (s *said) against(want *crowd.Expectation) string {
	var problems []string
	if !slices.Equal(s.diagnoses, want.Diagnoses) {
		problems = append(problems, fmt.Sprintf("diagnoses %v, not %v", s.diagnoses, want.Diagnoses))
	}
	if want.Reachable != nil && s.reachable != flag(*want.Reachable) {
		problems = append(problems, fmt.Sprintf("reachable %s, not %s", s.reachable, flag(*want.Reachable)))
	}
	for method, answers := range want.Responding {
		if w := flag(answers); s.responding[method] != w {
			problems = append(problems, fmt.Sprintf("%s responding %q, not %s", method, s.responding[method], w))
		}
	}
	for method, w := range want.States {
		if s.states[method] != w {
			problems = append(problems, fmt.Sprintf("path MTU by %s %q, not %s", method, s.states[method], w))
		}
	}
	for method, w := range want.Bytes {
		if s.bytes[method] != strconv.Itoa(w) {
			problems = append(problems, fmt.Sprintf("path MTU by %s %q bytes, not %d", method, s.bytes[method], w))
		}
	}
	return strings.Join(problems, "; ")
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func sorted(s []string) []string {
	slices.Sort(s)
	return s
}

// show prints some of the differences.
func (l *lab) show(differences map[string]string) {
	for n, name := range slices.Sorted(maps.Keys(differences)) {
		if n == shownDifferences {
			l.logf("... and %d more", len(differences)-n)
			return
		}
		l.logf("%s: %s", name, differences[name])
	}
}
