package netlab_test

import (
	"testing"

	"ipsec_path_exporter/internal/netlab"
)

// TestSourcePortDecides: S18 drops odd source ports, S11e those that are not the destination port.
func TestSourcePortDecides(t *testing.T) {
	lab := netlab.NewProvider(t)
	serve(t, lab)
	for scenario, sources := range map[string]map[int]string{
		"S18":  {40000: answered, 40001: silent, 500: answered},
		"S11e": {40000: silent, 40001: silent, 500: answered},
	} {
		lab.Apply(t, scenario)
		for _, v6 := range []bool{false, true} {
			for source, want := range sources {
				p := probe{dst: lab.ServerAddr(v6), size: 300, port: 500, source: source}
				if got := p.send(t, lab.Client, want); got != want {
					t.Errorf("%s, IPv6 %v, from port %d: %s, want %s", scenario, v6, source, got, want)
				}
			}
		}
	}
}

// TestKnownFlows: only the flows that were remembered are dropped.
func TestKnownFlows(t *testing.T) {
	lab := netlab.NewProvider(t)
	serve(t, lab)
	for _, v6 := range []bool{false, true} {
		known := probe{dst: lab.ServerAddr(v6), size: 300, port: 500, source: 40000}
		lab.RememberFlows(t)
		if got := known.send(t, lab.Client, answered); got != answered {
			t.Fatalf("IPv6 %v: %s", v6, got)
		}
		fault := lab.DropKnownFlows(t)
		other := known
		other.source = 40002
		if got := known.send(t, lab.Client, silent); got != silent || lab.Dropped(t, fault) == 0 {
			t.Errorf("IPv6 %v: a remembered flow is %s", v6, got)
		}
		for range 2 {
			if got := other.send(t, lab.Client, answered); got != answered {
				t.Errorf("IPv6 %v: another flow is %s", v6, got)
			}
		}
		lab.Reset(t)
	}
}
