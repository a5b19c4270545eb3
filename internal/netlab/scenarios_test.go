package netlab_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/responder"
)

// expectation is what becomes of the probes of one family in one scenario.
type expectation struct {
	echo1500, echo1400 string
	// ike1500 and ike1400 come from and go to port 500.
	ike1500, ike1400 string
	// natt100 comes from and goes to port 4500.
	natt100 string
	// ike2000 is sent without DF, in fragments; "" is not sent.
	ike2000 string
}

// clean is what a healthy path does.
func clean() expectation {
	return expectation{answered, answered, answered, answered, answered, answered}
}

// with is clean but for what f changes.
func with(f func(*expectation)) expectation {
	e := clean()
	f(&e)
	return e
}

// tooBig is a small link whose router says so. A datagram in fragments has no outcome over IPv6: it
// is the first one to learn of the link.
func tooBig(v6 bool, ptb string) expectation {
	return with(func(e *expectation) {
		e.echo1500, e.ike1500 = ptb, ptb
		if v6 {
			e.ike2000 = ""
		}
	})
}

// scenarioTest is what is expected of a scenario.
type scenarioTest struct {
	name   string
	v4, v6 expectation
}

func sizeTests() []scenarioTest {
	hole := with(func(e *expectation) { e.echo1500, e.ike1500 = silent, silent })
	hole6 := with(func(e *expectation) { e.echo1500, e.ike1500, e.ike2000 = silent, silent, silent })
	noICMP := expectation{silent, silent, silent, answered, answered, answered}
	noICMPNoFragments := expectation{silent, silent, silent, answered, answered, silent}
	noFragments := with(func(e *expectation) { e.ike2000 = silent })
	noBigReply := with(func(e *expectation) { e.echo1500 = silent })
	dead := expectation{unreachable, unreachable, unreachable, unreachable, unreachable, ""}
	odd := func(echo string) expectation { return with(func(e *expectation) { e.echo1500 = echo }) }
	const r2, r2v6 = " from 10.77.2.2", " from fd77:2::2"
	return []scenarioTest{
		{"S0", clean(), clean()},
		{"S1", tooBig(false, "ptb 1400"+r2), tooBig(true, "ptb 1400"+r2v6)},
		{"S2", hole, hole6},
		{"S2b", hole6, hole6},
		{"S3", noICMP, noICMPNoFragments},
		{"S4", noFragments, noFragments},
		{"S5", noICMPNoFragments, noICMPNoFragments},
		{"S6", clean(), noBigReply},
		{"S6b", noBigReply, noBigReply},
		{"S6c", hole, hole6},
		{"S6d", tooBig(false, "ptb 1450"+r2), tooBig(true, "ptb 1450"+r2v6)},
		{"S7a", tooBig(false, "ptb 0"+r2), tooBig(true, "ptb 0"+r2v6)},
		{"S7b", tooBig(false, "ptb 300"+r2), tooBig(true, "ptb 600"+r2v6)},
		{"S7c", tooBig(false, "ptb 1450"+r2), tooBig(true, "ptb 1450"+r2v6)},
		{"S7d", clean(), clean()},
		{"S10", clean(), clean()},
		{"S13", clean(), clean()},
		{"S13b", clean(), with(func(e *expectation) { e.ike2000 = "ptb 1500" + r2v6 })},
		{"S15", odd("ptb 1400" + r2), odd("ptb 1400 from fd77:5::2")},
		{"S15b", odd(silent), odd(silent)},
		{"S14a", expectation{
			"ptb 1280" + r2, "ptb 1280" + r2, "ptb 1280" + r2, "ptb 1280" + r2, answered, answered,
		}, expectation{"ptb 1280" + r2v6, "ptb 1280" + r2v6, "ptb 1280" + r2v6, "ptb 1280" + r2v6, answered, ""}},
		{"S14b", expectation{
			"ptb 576" + r2, "ptb 576" + r2, "ptb 576" + r2, "ptb 576" + r2, answered, answered,
		}, dead},
		{"S14c", expectation{silent, silent, silent, silent, answered, answered}, dead},
		{
			"S11a", with(func(e *expectation) { e.ike1500, e.ike1400, e.ike2000 = silent, silent, silent }),
			with(func(e *expectation) { e.ike1500, e.ike1400, e.ike2000 = silent, silent, silent }),
		},
		{"S11b", with(func(e *expectation) { e.natt100 = silent }), with(func(e *expectation) { e.natt100 = silent })},
		{"S12", clean(), clean()},
	}
}

func TestScenarios(t *testing.T) {
	began := time.Now()
	lab := netlab.NewProvider(t)
	t.Logf("built in %s", time.Since(began))
	serve(t, lab)
	tests := sizeTests()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			began := time.Now()
			lab.Apply(t, tt.name)
			t.Logf("applied in %s", time.Since(began))
			for _, v6 := range []bool{false, true} {
				want := tt.v4
				if v6 {
					want = tt.v6
				}
				got := measure(t, lab, v6, want)
				if diff := cmp.Diff(want, got, cmp.AllowUnexported(expectation{})); diff != "" {
					t.Errorf("IPv6 %v (-want +got):\n%s", v6, diff)
				}
			}
			for _, f := range lab.Faults() {
				// Nothing here sends ESP or AH; see TestProtocols.
				if n := lab.Dropped(t, f); n == 0 && tt.name != "S12" {
					t.Errorf("fault %s has not acted", f)
				}
			}
		})
	}
	t.Run("back to S0", func(t *testing.T) {
		lab.Reset(t)
		for _, v6 := range []bool{false, true} {
			if diff := cmp.Diff(clean(), measure(t, lab, v6, clean()), cmp.AllowUnexported(expectation{})); diff != "" {
				t.Errorf("IPv6 %v (-want +got):\n%s", v6, diff)
			}
		}
		if fs := lab.Faults(); len(fs) != 0 {
			t.Errorf("faults in force: %v", fs)
		}
	})
}

// Every scenario must be tested: here, by statistics, or by the diagnoses that it causes
// (exporter/check), or beside the faults.
func TestScenariosAreTested(t *testing.T) {
	tested := []string{"S8-1", "S8-5", "S8-20", "S8m-5", "S8m-20", "S9", "S9r", "S11c", "S11d", "S11e", "S12b", "S16", "S17", "S17b", "S18"}
	for _, tt := range sizeTests() {
		tested = append(tested, tt.name)
	}
	var all []string
	for _, s := range netlab.Scenarios() {
		if s.Description == "" {
			t.Errorf("%s has no description", s.Name)
		}
		all = append(all, s.Name)
	}
	slices.Sort(all)
	slices.Sort(tested)
	if diff := cmp.Diff(all, tested); diff != "" {
		t.Errorf("scenarios (-defined +tested):\n%s", diff)
	}
}

// measure sends every probe of a family.
func measure(t *testing.T, lab *netlab.Provider, v6 bool, want expectation) expectation {
	t.Helper()
	dst := lab.ServerAddr(v6)
	send := func(p probe, want string) string {
		if want == "" {
			return ""
		}
		p.dst = dst
		return p.send(t, lab.Client, want)
	}
	return expectation{
		echo1500: send(probe{size: 1500}, want.echo1500),
		echo1400: send(probe{size: 1400}, want.echo1400),
		ike1500:  send(probe{size: 1500, port: 500, source: 500}, want.ike1500),
		ike1400:  send(probe{size: 1400, port: 500, source: 500}, want.ike1400),
		natt100:  send(probe{size: 100, port: 4500, source: 4500}, want.natt100),
		ike2000:  send(probe{size: 2000, port: 500, source: 500, split: true}, want.ike2000),
	}
}

// serve runs a responder on the server.
func serve(t *testing.T, lab *netlab.Provider) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var r *responder.Responder
	lab.Server.Do(t, func() {
		var err error
		if r, err = responder.Start(ctx, responder.Config{}); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		if err := r.Wait(); err != nil {
			t.Error(err)
		}
	})
}
