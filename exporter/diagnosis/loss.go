package diagnosis

import (
	"fmt"
	"math"
	"slices"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/flows"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/internal/matched"
)

// LossHigh is the name of the diagnosis that many packets are lost on the path.
const LossHigh = "loss_high"

const (
	// contradicts is the accepted probability that IKE seems to lose less than echo requests, on a path
	// that does not distinguish them.
	contradicts = 0.001
	// mayBeLoss is the probability up to which loss does not explain a silence.
	mayBeLoss = 0.001
	// leastIKE is how many IKE requests refute that the path loses something, if none of them is lost.
	// A request that is answered ends the tries of its round, so fewer show too little loss.
	leastIKE = 6
)

// lossHigh: more than one round trip in ten is lost on the way.
//
// How sure it is: had each round trip been lost with the probability of one in ten, as many losses
// would come once in a thousand samples (collectors.Sample), and two samples without a common request
// must show it. Losses that IKE does not share are a rate limit for ICMP and no loss of the path.
// Where echo is filtered, IKE alone shows it. A peer that answers echo alone, and limits it below one
// in five seconds, looks the same. It ends when one in ten is lost, or fewer.
//
// Never together with a diagnosis that explains the loss: those are in lossExplained.
func (f *Facts) lossHigh() (claim, text) {
	sample, by, _ := f.lossSample()
	return unless(f.lossy(), f.lossExplained()...), func() (string, []string) {
		evidence := []string{fmt.Sprintf("%s: %d of %d requests lost (%s) since %s", by, sample.Lost, sample.Sent, percent(sample.Share()), Clock(sample.Since))}
		if u := f.ikeSample(); by != ikeRequests && u.Sent > 0 {
			evidence = append(evidence, fmt.Sprintf("%s: %d of %d lost in the same time", ikeRequests, u.Lost, u.Sent))
		}
		if r := f.echoes(); by != ikeRequests && r.Received > 0 {
			evidence = append(evidence, fmt.Sprintf("round trip %s/%s/%s min/avg/max, jitter %s", short(r.Min), short(r.Avg), short(r.Max), short(r.Jitter)))
		}
		return percent(sample.Share()) + " of the round trips to the peer are lost: tunnels come up late, and traffic in them crawls.", evidence
	}
}

// Names of what the loss is measured by.
const (
	echoRequests = "icmp: echo"
	ikeRequests  = "IKE"
)

// lossExplained are the claims of diagnoses that explain the loss.
func (f *Facts) lossExplained() []claim {
	return []claim{f.eaten(), f.flowsAre(flows.Stuck), f.flowsAre(flows.Split)}
}

// lossy is the claim that the loss is heavy. After two heavy samples, one that is neither heavy nor
// light decides nothing.
func (f *Facts) lossy() claim {
	s, by, ok := f.lossSample()
	heavy := s.Heavy()
	switch {
	case !ok, !heavy && !s.Light() && f.loss.heavy >= 2:
		return claim{}
	case !heavy, by == ikeRequests:
		return when(true, heavy, s.Since)
	}
	u := f.ikeSample()
	if u.Sent == 0 && f.speaksIKE().state == Holds {
		return claim{}
	}
	heavy = u.Sent < leastIKE || u.Lost > 0 && !matched.FallsShort(u.Lost, u.Sent, s.Lost, s.Sent, contradicts)
	return when(true, heavy, s.Since)
}

// losses are what is remembered of the newest samples.
type losses struct {
	since time.Time // of the newest one
	// heavy is how many in a row were heavy; two or more last until two in a row are light.
	heavy, light int
}

// note remembers a sample.
func (l *losses) note(f *Facts) {
	s, _, ok := f.lossSample()
	if !ok || s.Since.Equal(l.since) {
		return
	}
	l.since = s.Since
	switch c := f.lossy(); c.state {
	case Holds:
		l.heavy, l.light = l.heavy+1, 0
	case Absent:
		if l.light++; l.heavy < 2 || l.light >= 2 {
			l.heavy = 0
		}
	case Undecided:
	}
}

// lossSample returns the sample that decides, and what it is measured by: echo, or IKE where echo is
// filtered.
func (f *Facts) lossSample() (s collectors.Sample, by string, ok bool) {
	switch f.echoes().State {
	case icmp.Reachable:
		s, by = f.echoes().Loss, echoRequests
	case icmp.Silent:
		if f.speaksIKE().state == Holds {
			s, by = f.ikeSample(), ikeRequests
		}
	case icmp.Unknown:
	}
	return s, by, s.Sent > 0
}

// ikeSample returns the requests to both ports, including the probes of path MTU searches that fit.
func (f *Facts) ikeSample() (all collectors.Sample) {
	for _, m := range collectors.IKEMethods() {
		if f.replies(m).State != ike.Responding {
			continue
		}
		all = all.Plus(f.replies(m).Loss)
		if r := f.search(m); r.LossSamples > 0 {
			all = all.Plus(fitting(r))
		}
	}
	return all
}

// chance is when loss no longer explains requests that were not answered in a row. Without a
// measured loss it is one in five (package matched), which takes five requests.
var chance = matched.Rule{Alpha: mayBeLoss, PriorLost: 1, PriorSent: 5}

// explainedByLoss reports whether the loss of the path explains that so many requests in a row were
// not answered. Echo requests and IKE both measure it, whatever the last three echo requests show:
// under heavy loss they may all be lost. A peer that answers no echo at all shows no loss by them.
func (f *Facts) explainedByLoss(requests int) bool {
	known := f.ikeSample()
	if echo := f.echoes().Loss; echo.Lost < echo.Sent {
		known = known.Plus(echo)
	}
	return requests < chance.Pairs(chance.Loss(known.Lost, known.Sent))
}

// SilentBy returns the methods that are known to be silent in the flow in use.
func (f *Facts) SilentBy() []collectors.Method {
	return slices.DeleteFunc(collectors.Methods(), func(m collectors.Method) bool { return f.silent(m).state != Holds })
}

// SilenceExplained reports whether something other than the peer explains all the silence, so that a
// comparison of flows would show nothing new: a fault near this host, what its queue drops, or the
// measured loss of echo requests. A sample that was lost as a whole is silence itself.
func (f *Facts) SilenceExplained() bool {
	if f.Vantage.State == Holds && !f.Vantage.Congested {
		return true
	}
	share, requests := 0.0, 0
	for _, m := range collectors.Methods() {
		if foundHole(f.search(m)).state == Holds {
			return false
		}
		requests += f.unansweredRequests(m)
	}
	if s := f.echoes().Loss; s.Lost < s.Sent {
		share = s.Share()
	}
	if f.Vantage.Congested {
		share = max(share, f.Vantage.Share)
	}
	return requests > 0 && math.Pow(share, float64(requests)) > mayBeLoss
}

// fitting are the probes of a path MTU search that fit.
func fitting(r *pmtu.Result) collectors.Sample {
	return collectors.Sample{Sent: r.LossSamples, Lost: int(math.Round(r.Loss * float64(r.LossSamples))), Since: r.At.Add(-r.Duration)}
}

func percent(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) }

func short(d time.Duration) string { return d.Round(100 * time.Microsecond).String() }
