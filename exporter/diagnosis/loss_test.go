package diagnosis

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/collectors/protocols"
	"ipsec_path_exporter/internal/netio"
)

// losing makes the facts of a peer of which these samples were lost, by method.
func losing(by [methods]reaction, echo, ike, natt collectors.Sample) Facts {
	f := reaching(by)
	f.ICMP.Loss, f.IKE.IKE.Loss, f.IKE.NATT.Loss = echo, ike, natt
	return f
}

func of(lost, sent int) collectors.Sample {
	return collectors.Sample{Sent: sent, Lost: lost, Since: ago(60)}
}

func TestLossHigh(t *testing.T) {
	all, none := [methods]reaction{answers, answers, answers}, collectors.Sample{}
	filtered := [methods]reaction{silent, answers, answers}
	size := func(lost float64, samples int) *pmtu.Snapshot {
		r := ended(search.Clean)
		r.Loss, r.LossSamples, r.Duration = lost, samples, time.Minute
		return searched([methods]pmtu.Result{udp500: r})
	}
	for name, tt := range map[string]struct {
		facts  Facts
		change func(f *Facts)
		want   State
	}{
		"nothing sampled":                      {facts: losing(all, none, none, none), want: Undecided},
		"nothing lost":                         {facts: losing(all, of(0, 60), none, none), want: Absent},
		"one in ten":                           {facts: losing(all, of(6, 60), none, none), want: Absent},
		"more, as chance explains":             {facts: losing(all, of(14, 60), of(2, 10), none), want: Absent},
		"heavy":                                {facts: losing(all, of(15, 60), of(2, 10), none), want: Holds},
		"few echoes cannot show it":            {facts: losing(all, of(3, 6), of(1, 2), none), want: Absent},
		"IKE has no sample yet":                {facts: losing(all, of(38, 60), none, none), want: Undecided},
		"IKE loses nothing: a limit for ICMP":  {facts: losing(all, of(38, 60), of(0, 10), of(0, 10)), want: Absent},
		"IKE loses less, as chance explains":   {facts: losing(all, of(22, 60), of(1, 5), of(1, 5)), want: Holds},
		"two answers of each port are too few": {facts: losing(all, of(38, 60), of(0, 2), of(0, 2)), want: Holds},
		"sizes of searches are requests too":   {facts: losing(all, of(38, 60), none, none), change: func(f *Facts) { f.PMTU = size(0, 6) }, want: Absent},
		"they lose as many":                    {facts: losing(all, of(38, 60), none, none), change: func(f *Facts) { f.PMTU = size(0.5, 4) }, want: Holds},
		"one lost of eight is not much less":   {facts: losing(all, of(16, 20), of(1, 4), of(0, 4)), want: Holds},
		"six that lose nothing are not":        {facts: losing(all, of(22, 60), of(0, 3), of(0, 3)), want: Absent},
		"IKE loses much less":                  {facts: losing(all, of(50, 60), of(1, 9), of(1, 9)), want: Absent},
		"the peer answers echo alone":          {facts: losing([methods]reaction{answers, silent, silent}, of(38, 60), none, none), want: Holds},
		"echo is silent now":                   {facts: losing([methods]reaction{silent, silent, unasked}, of(38, 60), none, none), want: Undecided},
		"echo is filtered, and IKE loses much": {facts: losing(filtered, of(0, 60), of(6, 10), of(5, 10)), want: Holds},
		"echo is filtered, and IKE loses some": {facts: losing(filtered, none, of(3, 10), of(2, 10)), want: Absent},
		"echo is filtered, and IKE is well":    {facts: losing(filtered, none, of(0, 10), of(1, 10)), want: Absent},
		"echo is filtered, IKE has no sample":  {facts: losing(filtered, none, none, none), want: Undecided},
		"the peer is silent":                   {facts: losing([methods]reaction{silent, silent, silent}, of(38, 60), of(10, 10), none), want: Undecided},
		"echo is not measured, IKE loses much": {facts: losing([methods]reaction{unasked, answers, answers}, none, of(6, 10), of(6, 10)), want: Undecided},
		"this host's own filter drops answers": {facts: losing(all, of(38, 60), of(2, 10), none), change: func(f *Facts) {
			f.Protocols = &protocols.Results{At: start, Overheard: netio.Overheard{UDP: netio.Seen{Link: 5}}}
		}, want: Absent},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.change != nil {
				tt.change(&tt.facts)
			}
			v := verdictOn(t, tt.facts, LossHigh, "")
			if v.State != tt.want {
				t.Errorf("%v, want %v", v.State, tt.want)
			}
			if v.State == Holds && v.Basis.After(ago(60)) {
				t.Errorf("rests on %v, after the sample began", v.Basis)
			}
		})
	}
}

// TestLossEvidence: the figures are from the sample.
func TestLossEvidence(t *testing.T) {
	f := losing([methods]reaction{answers, answers, answers}, of(38, 60), of(4, 10), of(5, 10))
	ms := time.Millisecond
	f.ICMP.Min, f.ICMP.Avg, f.ICMP.Max, f.ICMP.Jitter = 20*ms, 25*ms, 40*ms, 3*ms
	v := verdictOn(t, f, LossHigh, "")
	want := []string{
		"icmp: echo: 38 of 60 requests lost (63 %) since 2026-01-02T03:03:05Z", "IKE: 9 of 20 lost in the same time",
		"round trip 20ms/25ms/40ms min/avg/max, jitter 3ms",
	}
	if diff := cmp.Diff(want, v.Evidence); diff != "" {
		t.Errorf("evidence (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(v.Summary, "63 % of the round trips to the peer are lost") || v.Severity != Warning {
		t.Errorf("%s: %s", v.Severity, v.Summary)
	}
}

// TestLossTakesTwoSamples: the loss of one sample is no diagnosis, and a sample between heavy and
// light ends none.
func TestLossTakesTwoSamples(t *testing.T) {
	tr, memory := &Tracker{}, Memory{}
	var got []bool
	for i, lost := range []int{0, 20, 10, 20, 20, 0, 20, 10, 10, 6, 6} {
		began := at(300 * i)
		f := measured(losing([methods]reaction{answers, answers, answers}, collectors.Sample{Sent: 60, Lost: lost, Since: began}, of(3, 10), of(3, 10)), 300*i+299)
		memory.Note(&f.Findings)
		f.Memory = memory
		for seconds := 299; seconds < 600; seconds += 30 { // until the next one is complete
			tr.Update(began.Add(time.Duration(seconds)*time.Second), Evaluate(f))
		}
		got = append(got, slices.ContainsFunc(tr.Held(), func(h Held) bool { return h.Name == LossHigh }))
	}
	want := []bool{false, false, false, false, true, true, true, true, true, true, false}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("held after each sample (-want +got):\n%s", diff)
	}
}

// TestSilenceExplained: where something else explains the silence, flows need not be compared.
func TestSilenceExplained(t *testing.T) {
	none := collectors.Sample{}
	echoes, port := [methods]reaction{silent, answers, answers}, [methods]reaction{answers, answers, silent}
	all := [methods]reaction{silent, silent, silent}
	for name, tt := range map[string]struct {
		facts   Facts
		vantage Suspicion
		hole    bool
		want    bool
	}{
		"nothing is silent":                {facts: losing([methods]reaction{answers, answers, answers}, of(40, 60), none, none)},
		"no loss":                          {facts: losing(echoes, of(0, 60), none, none)},
		"not sampled":                      {facts: losing(echoes, none, none, none)},
		"echoes are lost":                  {facts: losing(echoes, of(25, 60), none, none), want: true},
		"few are lost":                     {facts: losing(echoes, of(5, 60), none, none)},
		"all are lost":                     {facts: losing(echoes, of(60, 60), none, none)},
		"a port, two thirds are lost":      {facts: losing(port, of(40, 60), none, none), want: true},
		"a port, few are lost":             {facts: losing(port, of(5, 60), none, none)},
		"nothing answers, a third is lost": {facts: losing(all, of(20, 60), none, none)},
		"a black hole is no loss":          {facts: losing(echoes, of(25, 60), none, none), hole: true},
		"a fault near this host":           {facts: losing(all, none, none, none), vantage: Suspicion{State: Holds}, want: true},
		"its queue drops nearly all":       {facts: losing(all, none, none, none), vantage: Suspicion{State: Holds, Congested: true, Share: 0.9}, want: true},
		"its queue drops few":              {facts: losing(all, none, none, none), vantage: Suspicion{State: Holds, Congested: true, Share: 0.06}},
		"the fault near this host is gone": {facts: losing(all, none, none, none), vantage: Suspicion{State: Absent}},
	} {
		f := tt.facts
		f.Vantage = tt.vantage
		if tt.hole {
			f.PMTU = searched([methods]pmtu.Result{udp500: ended(search.BlackHole)})
		}
		if got := f.SilenceExplained(); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
