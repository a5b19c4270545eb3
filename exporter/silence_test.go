package exporter

import (
	"strings"
	"testing"

	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/internal/netlab/responder"
)

// TestSilentDaemonIsSpared: a daemon that stays silent while its host answers echo requests gets
// few packets, from all peers of its address together, and is found at once when it is back.
func TestSilentDaemonIsSpared(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Gateway.Set(responder.Behaviour{Silent: true})
	s := l.serve(t, quick+"peers:\n- {name: one, address: "+l.Address(false)+"}\n- {name: two, address: "+l.Address(false)+", source_address: "+l.ClientAddr(false).String()+"}\n")
	pause := func(peer string) float64 {
		v, _ := s.scrape(t).value(`probe_backoff_seconds{collector="ike",peer="` + peer + `"}`)
		return v
	}
	exportertest.Eventually(t, 2*soon, "a pause of both peers", func() bool { return pause("one") > 0 && pause("two") > 0 })
	if n := l.Gateway.Requests(); n >= 60 {
		t.Errorf("%d packets until then", n)
	}
	if s.is(t, `icmp_reachable{peer="one"}`, 0) || pause("one") == 0 {
		t.Error("echo is slowed down, or IKE is not")
	}
	l.Gateway.Set(responder.Behaviour{})
	for _, peer := range []string{"one", "two"} {
		s.await(t, 2*soon, `ike_responding{method="natt",peer="`+peer+`"}`, 1)
		s.await(t, soon, `ike_responding{method="ike",peer="`+peer+`"}`, 1)
		if all := strings.Join(s.scrape(t).of(peer), "\n"); strings.Contains(all, "backoff") {
			t.Errorf("%s still pauses:\n%s", peer, all)
		}
	}
	if v, ok := s.scrape(t).value(`peer_overdue_collectors{peer="one"}`); !ok || v != 0 {
		t.Errorf("%v collectors are overdue", v)
	}
}
