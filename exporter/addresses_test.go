package exporter

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/exporter/resolve"
	"ipsec_path_exporter/internal/netlab"
)

// TestTrials: which addresses are tried, and when.
func TestTrials(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	one, two, three := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.2"), netip.MustParseAddr("2001:db8::3")
	lost := resolve.Address{Addr: netip.MustParseAddr("2001:db8::4"), Err: errServer}
	var s addresses
	due := func(doubtful, confirming bool, want ...netip.Addr) {
		t.Helper()
		if got := s.due(one, doubtful, confirming, now); !slices.Equal(got, want) {
			t.Errorf("%v are due, want %v", got, want)
		}
	}
	note := func(a netip.Addr, state diagnosis.State) {
		s.note(diagnosis.Other{Address: a, State: state, At: now}, now)
	}
	set := func(want bool, all ...resolve.Address) {
		t.Helper()
		if s.set(all, now) != want {
			t.Errorf("set %v: not %t", all, want)
		}
	}
	set(true, resolve.Address{Addr: one}, resolve.Address{Addr: two}, resolve.Address{Addr: three}, lost)
	set(false, resolve.Address{Addr: three}, resolve.Address{Addr: one}, resolve.Address{Addr: two}, lost)
	set(false, resolve.Address{Addr: one}, resolve.Address{Addr: two}, resolve.Address{Addr: three}, lost)
	due(false, false)
	due(true, false, two, three)
	note(two, diagnosis.Absent)
	note(three, diagnosis.Holds)
	due(true, true)
	if got := s.better(one, now); got != three {
		t.Errorf("better: %v", got)
	}
	now = now.Add(tryEvery)
	due(false, false)
	due(false, true, three)
	due(true, false, three)
	now = now.Add(tryAgain - tryEvery)
	due(false, false, two)
	due(false, true, two, three)
	due(true, false, two, three)
	if got := s.better(one, now); got.IsValid() {
		t.Errorf("better by an old trial: %v", got)
	}
	// A silent address is tried ever less often, and at once again after it has answered.
	for _, wait := range []time.Duration{10, 15, 15} {
		note(two, diagnosis.Absent)
		now = now.Add(wait*time.Minute - time.Second)
		due(false, false)
		now = now.Add(time.Second)
		due(false, false, two)
	}
	note(two, diagnosis.Holds)
	now = now.Add(tryEvery)
	due(false, false)
	due(false, true, two, three)
	// It does not move twice within stayFor.
	note(two, diagnosis.Holds)
	s.left(now)
	now = now.Add(tryEvery - 1)
	if got := s.better(one, now); got.IsValid() {
		t.Errorf("it would move again to %v", got)
	}
	// What the name has lost is forgotten; what cannot be sent to is unknown.
	note(three, diagnosis.Absent)
	set(true, resolve.Address{Addr: one}, resolve.Address{Addr: three, Err: errServer})
	if tried, at := s.tried(one); len(tried) != 1 || tried[0].Address != three || tried[0].State != diagnosis.Undecided || at != now {
		t.Errorf("tried %+v at %v", tried, at)
	}
}

// retry makes the other addresses of a peer due, and tries them as the schedule does.
func (s *service) retry(t *testing.T, name string) {
	t.Helper()
	p, ok := s.find(name)
	if !ok {
		t.Fatalf("no peer %q", name)
	}
	p.names.mu.Lock()
	for _, one := range p.names.trials {
		one.next = time.Time{}
	}
	p.names.mu.Unlock()
	p.tryOthers(t.Context())
}

// TestDeadAddressIsLeft: the first address of a name is silent. The peer moves to the one that
// answers, says so, and stays there when the first one answers again.
func TestDeadAddressIsLeft(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	const host = "gateway.example"
	first, second := l.ServerAddr(false).Next().Next(), l.ServerAddr(true)
	r := &exportertest.Names{}
	r.Set(host, first, second)
	s := l.serveAs(t, quick+"peers:\n- {name: hq, address: "+host+"}\n", false, r)
	info := func(addr netip.Addr, family string) string {
		return `peer_info{address="` + addr.String() + `",family="` + family + `",peer="hq",source=""}`
	}
	s.await(t, soon, info(first, "ip4"), 1)
	s.await(t, 3*soon, info(second, "ip6"), 1)
	if s.logged.Count(`msg="address does not answer; measuring another one of the name" peer=hq silent=`+first.String()+" address="+second.String()) != 1 {
		t.Errorf("log:\n%s", s.logged)
	}
	const silent = `diagnosis{diagnosis="address_silent",peer="hq",severity="warning"}`
	exportertest.Eventually(t, 3*soon, "address_silent", func() bool {
		if !s.is(t, `icmp_reachable{peer="hq"}`, 1) {
			return false
		}
		s.retry(t, "hq")
		return s.is(t, silent, 1)
	})
	page, ok := peerPages{s.app}.Report("hq")
	if !ok || len(page.Addresses) != 1 || page.Addresses[0].Address != first || page.Addresses[0].State != "silent" {
		t.Errorf("page: %+v", page.Addresses)
	}

	l.AddServerAddr(t, first.As4()[3], false)
	exportertest.Eventually(t, 3*soon, "the end of address_silent", func() bool {
		s.retry(t, "hq")
		v, held := s.scrape(t).value(silent)
		return !held || v == 0
	})
	if s.lookup(t, "hq"); !s.is(t, info(second, "ip6"), 1) {
		t.Errorf("it did not stay:\n%s", strings.Join(s.scrape(t).of("hq"), "\n"))
	}
	if n := s.logged.Count(`msg="address changed"`); n != 1 {
		t.Errorf("%d moves", n)
	}
}

// TestUnsendableAddressIsLeft: this host can no longer send to the measured address.
func TestUnsendableAddressIsLeft(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	const host = "gateway.example"
	r := &exportertest.Names{}
	r.Set(host, l.ServerAddr(false), l.ServerAddr(true))
	s := l.serveAs(t, quick+"peers:\n- {name: hq, address: "+host+"}\n", false, r)
	s.awaitMeasured(t, "hq")
	s.retry(t, "hq")
	if n := s.logged.Count("address changed"); n > 0 {
		t.Fatalf("it left an address that answers:\n%s", s.logged)
	}
	l.Client.Route(t, netlab.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: l.HopAddr(1, false).Next().Next()})
	const moved = `peer_info{address="%s",family="ip6",peer="hq",source=""}`
	exportertest.Eventually(t, 3*soon, "another address", func() bool {
		s.retry(t, "hq")
		return s.is(t, fmt.Sprintf(moved, l.Address(true)), 1)
	})
	s.await(t, soon, `icmp_reachable{peer="hq"}`, 1)
	for _, held := range s.scrape(t).of("hq") {
		if strings.HasPrefix(held, `diagnosis{diagnosis="address_silent"`) {
			t.Errorf("%s, though nothing was sent", held)
		}
	}
}

// TestAllAddressesSilent: where none answers, the peer keeps its address.
func TestAllAddressesSilent(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	const host = "gateway.example"
	first := l.ServerAddr(false).Next().Next()
	r := &exportertest.Names{}
	r.Set(host, first, first.Next())
	s := l.serveAs(t, quick+"peers:\n- {name: hq, address: "+host+"}\n", false, r)
	s.await(t, 3*soon, `diagnosis{diagnosis="no_route",peer="hq",severity="critical"}`, 1)
	s.retry(t, "hq")
	s.retry(t, "hq")
	if !s.is(t, `peer_info{address="`+first.String()+`",family="ip4",peer="hq",source=""}`, 1) || s.logged.Count("address changed") > 0 {
		t.Errorf("log:\n%s", s.logged)
	}
}

// TestFamilyBoth: a name is measured at an address of each family, with series of its own.
func TestFamilyBoth(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	const host = "gateway.example"
	four, six := l.ServerAddr(false), l.ServerAddr(true)
	r := &exportertest.Names{}
	r.Set(host, six, four)
	s := l.serveAs(t, quick+"peers:\n- {name: hq, address: "+host+", family: both, labels: {site: haiti}}\n", false, r)
	s.awaitMeasured(t, "hq@ip4")
	s.awaitMeasured(t, "hq@ip6")
	for _, series := range []string{
		`peer_info{address="` + four.String() + `",family="ip4",peer="hq@ip4",site="haiti",source=""}`,
		`peer_info{address="` + six.String() + `",family="ip6",peer="hq@ip6",site="haiti",source=""}`,
		`ike_responding{method="ike",peer="hq@ip4",site="haiti"}`, `ike_responding{method="ike",peer="hq@ip6",site="haiti"}`,
	} {
		s.await(t, soon, series, 1)
	}
	exportertest.Eventually(t, soon, "as many series of both parts", func() bool {
		p := s.scrape(t)
		return len(p.of("hq@ip4")) == len(p.of("hq@ip6"))
	})
	if p := s.scrape(t); len(p.of("hq")) > 0 {
		t.Errorf("%d series of hq", len(p.of("hq")))
	}
	for _, name := range []string{"hq@ip4", "hq@ip6"} {
		if page, ok := (peerPages{s.app}).Report(name); !ok || len(page.Addresses) > 0 {
			t.Errorf("page of %s: %t, other addresses %v", name, ok, page.Addresses)
		}
	}

	// One family fails: that part alone has a diagnosis, and it stays in its family.
	r.Set(host, six.Next().Next(), four)
	s.lookup(t, "hq@ip6")
	s.await(t, 3*soon, `diagnosis{diagnosis="no_route",peer="hq@ip6",severity="critical",site="haiti"}`, 1)
	s.retry(t, "hq@ip6")
	if !s.is(t, `peer_info{address="`+six.Next().Next().String()+`",family="ip6",peer="hq@ip6",site="haiti",source=""}`, 1) {
		t.Errorf("it left its family:\n%s", strings.Join(s.scrape(t).of("hq@ip6"), "\n"))
	}
	for _, held := range s.scrape(t).of("hq@ip4") {
		if strings.HasPrefix(held, "diagnosis{") {
			t.Errorf("%s of the other family", held)
		}
	}

	// A reload keeps what is unchanged, and the peer of one family takes the place of two.
	if err := s.configure(t, quick+"peers:\n- {name: hq, address: "+host+", labels: {site: haiti}}\n"); err != nil {
		t.Fatal(err)
	}
	if p := s.scrape(t); len(p.of("hq")) == 0 || len(p.of("hq@ip4"))+len(p.of("hq@ip6")) > 0 {
		t.Error("the parts are still there after a reload")
	}
}
