package exporter

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"ipsec_path_exporter/exporter/exportertest"
)

// errServer stands for a name server that does not answer.
var errServer = errors.New("server misbehaving")

// lookups runs one lookup of a peer's name, as the schedule does every minute.
func (s *service) lookup(t *testing.T, name string) {
	t.Helper()
	for _, p := range s.running() {
		if p.Config.Name == name {
			p.lookup(t.Context())
			return
		}
	}
	t.Fatalf("no peer %q", name)
}

// TestDynamicNames: the gateway moves. What was known about the old address is forgotten, what was
// counted is not.
func TestDynamicNames(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	first, second := l.ServerAddr(false), l.AddServerAddr(t, 20, false)
	const host = "gateway.example"
	r := &exportertest.Names{}
	r.Set(host, first)
	s := l.serveAs(t, quick+"peers:\n- {name: hq, address: "+host+"}\n", false, r)
	info := func(addr, family string) string {
		return `peer_info{address="` + addr + `",family="` + family + `",peer="hq",source=""}`
	}
	s.await(t, soon, info(first.String(), "ip4"), 1)
	s.awaitMeasured(t, "hq")

	// More addresses do not make it jump, whatever their order.
	r.Set(host, second, first, l.ServerAddr(true))
	s.lookup(t, "hq")
	r.Set(host, l.ServerAddr(true), first, second)
	s.lookup(t, "hq")
	if !s.is(t, info(first.String(), "ip4"), 1) {
		t.Errorf("the address changed though the name still has it:\n%s", strings.Join(s.scrape(t).of("hq"), "\n"))
	}

	// No answer, no change: the last address is measured on.
	r.Fail(errServer)
	before, _ := s.scrape(t).value(`collector_errors_total{collector="resolve",reason="name"}`)
	s.lookup(t, "hq")
	s.lookup(t, "hq")
	if v, _ := s.scrape(t).value(`collector_errors_total{collector="resolve",reason="name"}`); v != before+2 {
		t.Errorf("%v errors, want %v", v, before+2)
	}
	if !s.is(t, info(first.String(), "ip4"), 1) || s.logged.Count("resolving the name failed; keeping its last address") != 1 {
		t.Errorf("after failures; log:\n%s", s.logged)
	}
	r.Fail(nil)

	// The gateway moves to an address whose path is not known yet.
	p := s.scrape(t)
	requests, _ := p.value(`icmp_requests_total{peer="hq"}`)
	responses, _ := p.value(`ike_responses_total{method="ike",peer="hq"}`)
	l.DropPTB(t)
	l.SetMTU(t, 1400)
	r.Set(host, second)
	s.lookup(t, "hq")
	p = s.scrape(t)
	if v, ok := p.value(info(second.String(), "ip4")); !ok || v != 1 {
		t.Errorf("peer_info does not name %s:\n%s", second, strings.Join(p.of("hq"), "\n"))
	}
	if _, ok := p.value(`ike_responding{method="ike",peer="hq"}`); ok {
		t.Error("IKE is known to answer at an address that was never asked")
	}
	if v, _ := p.value(`icmp_requests_total{peer="hq"}`); v < requests {
		t.Errorf("%v requests after %v", v, requests)
	}
	if v, _ := p.value(`ike_responses_total{method="ike",peer="hq"}`); v < responses {
		t.Errorf("%v responses after %v", v, responses)
	}
	s.await(t, soon, `mtu_state{method="natt",peer="hq",state="black_hole"}`, 1)
	if v, _ := s.scrape(t).value(`mtu_changes_total{peer="hq"}`); v != 0 {
		t.Errorf("%v changes: the path MTU of another address is not one", v)
	}
	if s.logged.Count(`msg="address changed" peer=hq address=`+second.String()) != 1 {
		t.Errorf("log:\n%s", s.logged)
	}
}

// TestNameThatDoesNotResolve: it is logged once, the peer is measured as soon as its name resolves,
// and no other peer waits.
func TestNameThatDoesNotResolve(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	r := &exportertest.Names{}
	s := l.serveAs(t, quick+"peers:\n- {name: lost, address: lost.example}\n- {name: hq, address: "+l.Address(false)+"}\n", false, r)
	s.awaitMeasured(t, "hq")
	s.await(t, soon, `peer_info{address="",family="",peer="lost",source=""}`, 1)
	for _, series := range s.scrape(t).of("lost") {
		if name, _, _ := strings.Cut(series, "{"); !strings.HasSuffix(name, "_total") && !strings.HasPrefix(name, "peer_") &&
			name != "icmp_round_trip_seconds" {
			t.Errorf("%s of a peer that was never measured", series)
		}
	}
	s.lookup(t, "lost")
	const complaint = `level=WARN msg="resolving the name failed; nothing is measured" peer=lost err="cannot resolve \"lost.example\"`
	if n := s.logged.Count(complaint); n != 1 {
		t.Errorf("%d complaints:\n%s", n, s.logged)
	}
	r.Set("lost.example", l.ServerAddr(true))
	s.lookup(t, "lost")
	s.awaitMeasured(t, "lost")
	if !s.is(t, `peer_info{address="`+l.Address(true)+`",family="ip6",peer="lost",source=""}`, 1) {
		t.Errorf("series:\n%s", strings.Join(s.scrape(t).of("lost"), "\n"))
	}
}

// TestLookupTakesItsTime: a name server that does not answer holds up neither a reload nor another
// peer.
func TestLookupTakesItsTime(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	asked := make(chan struct{}, 1)
	r := stuck(asked)
	hq := "- {name: hq, address: " + l.Address(false) + ", collectors: [icmp]}\n"
	s := l.serveAs(t, quick+"peers:\n"+hq+"- {name: slow, address: slow.example}\n", false, r)
	<-asked
	s.await(t, soon, `icmp_reachable{peer="hq"}`, 1)
	began := time.Now()
	if err := s.configure(t, quick+"peers:\n"+hq); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("the reload took %v", took)
	}
	if s.logged.Count("resolve") > 0 {
		t.Errorf("a lookup that was cancelled is no failure:\n%s", s.logged)
	}
}

// stuck is a resolver that says when it is asked, and answers nothing.
type stuck chan struct{}

// LookupNetIP implements resolver.
func (s stuck) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	s <- struct{}{}
	<-ctx.Done()
	return nil, ctx.Err()
}
