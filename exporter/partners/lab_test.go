package partners_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/partner"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/exporter/partners"
	"ipsec_path_exporter/exporter/subject"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/session"
)

func TestMain(m *testing.M) { exportertest.Main(m) }

const secret = "a key that both ends have"

// keyFile writes a key.
func keyFile(tb testing.TB, text string) string {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "key")
	if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
		tb.Fatal(err)
	}
	return file
}

// A lab has an exporter at each end of a provider: the one at the server answers, the one at the
// client asks.
type lab struct {
	*netlab.Provider
	answering *partners.Reflector
	// peers are the partners of the server, by IPv6.
	peers [2]partners.Peer
	asks  [2]*suite.Collectors
	end   context.CancelFunc
	log   *bytes.Buffer
}

// newLab makes a lab whose ends measure with each other.
func newLab(t *testing.T, ours, theirs config.Partner) *lab {
	t.Helper()
	l := newEnds(t, ours, theirs)
	exportertest.Eventually(t, 5*time.Second, "the partner listens", func() bool { return l.round(t, false).Received > 0 })
	return l
}

// newEnds makes a lab whose ends may use different ports.
func newEnds(t *testing.T, ours, theirs config.Partner) *lab {
	t.Helper()
	netlab.Need(t)
	l := &lab{Provider: netlab.NewProvider(t), log: &bytes.Buffer{}}
	log := slog.New(slog.NewTextHandler(l.log, nil))
	var stack *netio.Stack
	l.Server.Do(t, func() {
		var err error
		if stack, err = netio.Open(netio.Config{Limits: netio.DefaultLimits, Log: log}); err != nil {
			t.Fatal(err)
		}
	})
	settings := config.Partners{Addr: netip.IPv6Unspecified(), Port: session.Port, Limits: session.DefaultLimits(), Unauthenticated: true}
	for i, v6 := range []bool{false, true} {
		l.peers[i] = partners.Peer{Name: fmt.Sprint("branch", i), Addr: l.ClientAddr(v6), Partner: theirs}
	}
	l.answering = partners.New(stack, func() (config.Partners, []partners.Peer) { return settings, l.peers[:] }, log)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = l.answering.Run(ctx) }()
	l.end = func() { cancel(); <-ended }
	t.Cleanup(func() { l.end(); stack.Close() })
	cfg, err := config.Parse("", []byte("peers: [{address: "+l.ServerAddr(false).String()+"}, {address: '"+l.ServerAddr(true).String()+"'}]"))
	if err != nil {
		t.Fatal(err)
	}
	var tools *subject.Instruments
	l.Client.Do(t, func() {
		if tools, err = subject.OpenInstruments(netio.Config{Limits: netio.DefaultLimits, Log: log}); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(tools.Close)
	for i := range cfg.Peers {
		cfg.Peers[i].Partner = ours
		cfg.Peers[i].Collectors = suite.NewSet(suite.Partner)
		l.asks[i] = subject.New(t.Context(), &cfg.Peers[i], subject.Deps{Instruments: tools, Network: tools.Stack}).Collectors
	}
	return l
}

// round measures with the partner once.
func (l *lab) round(t *testing.T, v6 bool) partner.Result {
	t.Helper()
	i := 0
	if v6 {
		i = 1
	}
	var f suite.Findings
	target := collectors.Target{Peer: "hq", Path: netio.Path{Dst: l.ServerAddr(v6)}}
	keep, err := l.asks[i].Measure(t.Context(), suite.Partner, target)
	if err != nil {
		t.Fatal(err)
	}
	keep(&f)
	return *f.Partner
}

// TestFaultsHaveADirection: two exporters, real packets, and a fault in one direction after the other.
func TestFaultsHaveADirection(t *testing.T) {
	t.Parallel()
	p := config.Partner{KeyFile: keyFile(t, secret)}
	l := newLab(t, p, p)
	rounds := func(v6 bool, n int) (before, after partner.Result) {
		before = l.round(t, v6)
		for range n {
			after = l.round(t, v6)
		}
		return before, after
	}
	for _, v6 := range []bool{false, true} {
		before, after := rounds(v6, 2)
		lost := after.Counts.LostThere + after.Counts.LostBack - before.Counts.LostThere - before.Counts.LostBack
		if after.State != partner.Up || after.Received != partner.Packets || lost != 0 || !after.OneWay {
			t.Errorf("IPv6 %v: a clean path: %+v", v6, after)
		}
		if after.There.Fragments != partner.FragmentsPass || after.Back.Fragments != partner.FragmentsPass || after.There.MTU.Bytes != 1500 {
			t.Errorf("IPv6 %v: a clean path: %+v", v6, after)
		}
		if after.There.DSCP != 10 || after.Back.DSCP != 10 || !after.There.Varies || after.RoundTrip <= 0 {
			t.Errorf("IPv6 %v: a clean path: %+v", v6, after)
		}
		for _, d := range []netlab.Direction{netlab.Forward, netlab.Reverse} {
			fault := l.LoseOneWay(t, 40, d)
			before, _ = rounds(v6, 4)
			l.Heal(t, fault)
			last := l.round(t, v6) // shows what was lost before it
			there, back := last.Counts.LostThere-before.Counts.LostThere, last.Counts.LostBack-before.Counts.LostBack
			if d == netlab.Reverse {
				there, back = back, there
			}
			if there < 4 || there > 36 || back != 0 || last.State != partner.Up { // of 40
				t.Errorf("IPv6 %v, 40%% loss in direction %d: %d lost there, %d lost in the other direction: %+v", v6, d, there, back, last)
			}
			fault = l.RewriteDSCP(t, 0, d)
			_, after = rounds(v6, 1)
			l.Heal(t, fault)
			there2, back2 := after.There.DSCP, after.Back.DSCP
			if d == netlab.Reverse {
				there2, back2 = back2, there2
			}
			if there2 != 0 || back2 != 10 {
				t.Errorf("IPv6 %v, DSCP rewritten in direction %d: %d and %d", v6, d, there2, back2)
			}
		}
	}
	if c := l.answering.Count(); c.Fates[session.Reflected] == 0 || c.Fates[session.Forged]+c.Fates[session.Stranger]+c.Fates[session.Malformed] != 0 || c.Unproven.Out != 0 {
		t.Errorf("%+v", c)
	}
	if strings.Contains(l.log.String(), secret) {
		t.Error("the key is in the log")
	}
}

// TestKeys: a wrong key is a state; a change of keys costs nothing; the reflector follows its file.
func TestKeys(t *testing.T) {
	t.Parallel()
	ours, theirs := config.Partner{KeyFile: keyFile(t, secret)}, config.Partner{KeyFile: keyFile(t, secret)}
	theirs.NextKeyFile = filepath.Join(t.TempDir(), "missing")
	l := newLab(t, ours, theirs)
	write := func(file, text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l.answering.Changed()
	}
	state := func(want partner.State) {
		t.Helper()
		exportertest.Eventually(t, 10*time.Second, want.String(), func() bool { return l.round(t, false).State == want })
	}
	state(partner.Up)
	write(ours.KeyFile, "another key of this end")
	state(partner.WrongKey)
	write(theirs.NextKeyFile, "another key of this end") // the change of keys, half done
	state(partner.Up)
	write(theirs.KeyFile, "another key of this end")
	state(partner.Up)
	write(theirs.KeyFile, "short")
	exportertest.Eventually(t, 10*time.Second, "silence", func() bool { return l.round(t, false).State == partner.Silent })
	write(theirs.KeyFile, "another key of this end")
	exportertest.Eventually(t, 10*time.Second, "an answer", func() bool { r := l.round(t, false); return r.Up() })
	if text := l.log.String(); strings.Contains(text, "another key") || !strings.Contains(text, theirs.KeyFile) {
		t.Errorf("log: %s", text)
	}
	l.end()
	if r := l.round(t, false); r.State != partner.Silent || r.Counts.LostThere+r.Counts.LostBack != 0 {
		t.Errorf("after the end of the partner: %+v", r)
	}
}

// TestUnauthenticated: our sender and our reflector speak plain STAMP with each other, which shows no
// direction.
func TestUnauthenticated(t *testing.T) {
	t.Parallel()
	p := config.Partner{Mode: config.PartnerUnauthenticated, Port: session.Port}
	l := newLab(t, p, p)
	for _, v6 := range []bool{false, true} {
		if r := l.round(t, v6); r.State != partner.Up || r.Received != partner.Packets || r.OneWay || r.There.Marked {
			t.Errorf("%+v", r)
		}
	}
	if c := l.answering.Count(); c.Unproven.Out > c.Unproven.In || c.Known.Out != 0 {
		t.Errorf("%+v", c)
	}
}

// TestStranger: a flood from an address that is no partner gets nothing, and does not disturb a partner.
func TestStranger(t *testing.T) {
	t.Parallel()
	p := config.Partner{KeyFile: keyFile(t, secret)}
	l := newLab(t, p, p)
	before := l.round(t, false)
	var conn net.Conn
	l.R3.Do(t, func() {
		var err error
		if conn, err = net.Dial("udp", netip.AddrPortFrom(l.ServerAddr(false), session.Port).String()); err != nil {
			t.Fatal(err)
		}
	})
	defer conn.Close()
	const sent = 20000
	packet := bytes.Repeat([]byte{0}, 200)
	flooded := make(chan time.Duration)
	go func() {
		began := time.Now()
		for range sent {
			_, _ = conn.Write(packet)
		}
		flooded <- time.Since(began)
	}()
	during := l.round(t, false)
	t.Logf("%d packets in %v", sent, <-flooded)
	after := l.round(t, false)
	if c := l.answering.Count(); c.Fates[session.Stranger] == 0 || c.Unproven.Out != 0 {
		t.Errorf("%+v", c)
	}
	if !during.Up() || !after.Up() || after.Counts.LostThere+after.Counts.LostBack > before.Counts.LostThere+before.Counts.LostBack {
		t.Errorf("during the flood %+v, after it %+v", during, after)
	}
}

// TestMTUOfEachDirection: another path MTU in each direction, with all ICMP dropped, to the byte.
// Nothing of it counts as loss.
func TestMTUOfEachDirection(t *testing.T) {
	t.Parallel()
	p := config.Partner{KeyFile: keyFile(t, secret)}
	l := newLab(t, p, p)
	l.SetForwardMTU(t, 1400)
	l.SetReverseMTU(t, 1300)
	l.DropICMP(t)
	l.DropFragments(t)
	for i, v6 := range []bool{false, true} {
		// As for another target, so that what was known before is forgotten.
		l.asks[i].SetTarget(collectors.Target{Peer: "hq", Path: netio.Path{Dst: l.ServerAddr(v6), Flow: 1}})
		r := l.round(t, v6)
		if r.There.MTU.Bytes != 1400 || r.Back.MTU.Bytes != 1300 || !r.There.MTU.Known() || !r.Back.MTU.Known() {
			t.Errorf("IPv6 %v: there %+v, back %+v", v6, r.There.MTU, r.Back.MTU)
		}
		if r.There.Fragments != partner.FragmentsDropped || r.Back.Fragments != partner.FragmentsDropped {
			t.Errorf("IPv6 %v: fragments %v and %v", v6, r.There.Fragments, r.Back.Fragments)
		}
		if r.State != partner.Up || r.Counts.LostThere+r.Counts.LostBack != 0 {
			t.Errorf("IPv6 %v: %+v", v6, r)
		}
	}
}
