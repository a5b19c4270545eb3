package gateways_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/collectors/gateways"
)

const interval = 30 * time.Second

// fake is a gateway that answers what the test says.
type fake struct {
	mu     sync.Mutex
	read   func(ctx context.Context) (gateways.Table, error)
	reads  []time.Time
	closed int
	events chan gateways.Event
}

func (f *fake) Read(ctx context.Context) (gateways.Table, error) {
	f.mu.Lock()
	read := f.read
	f.reads = append(f.reads, time.Now())
	f.mu.Unlock()
	return read(ctx)
}

func (f *fake) set(read func(ctx context.Context) (gateways.Table, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.read = read
}

func (f *fake) shows(t gateways.Table) {
	f.set(func(context.Context) (gateways.Table, error) { return t, nil })
}

func (f *fake) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed++
	return nil
}

// watched is one that sends events too.
type watched struct{ *fake }

func (w watched) Watch(ctx context.Context, changed func(gateways.Event)) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-w.events:
			if !ok {
				return errors.New("connection lost")
			}
			changed(e)
		}
	}
}

var hq = gateways.Identity{Address: netip.MustParseAddr("192.0.2.1")}

func peers() []gateways.Peer {
	return []gateways.Peer{{Name: "hq", Address: hq.Address, Expected: true, Labels: map[string]string{"isp": "acme"}}}
}

// up is the table of a gateway with one tunnel.
func up(keys ...string) gateways.Table {
	t := gateways.Table{
		Info: gateways.Info{Type: "fake", Version: "1.0"},
		IKE:  []gateways.IKESA{{Peer: hq, Version: 2, State: gateways.Established, VendorState: "READY", Established: time.Unix(946684800, 0)}},
	}
	for _, k := range keys {
		t.Children = append(t.Children, gateways.ChildSA{
			Peer: hq, Key: k, State: gateways.Installed, PathMTU: 1500,
			In: gateways.Traffic{Packets: gateways.Counted(5)}, Out: gateways.Traffic{Packets: gateways.Counted(7), Bytes: gateways.Counted(700)},
		})
	}
	return t
}

// run polls the source in the background until the test ends.
func run(t *testing.T, s gateways.Source, log *slog.Logger) *gateways.Poller {
	t.Helper()
	p := gateways.NewPoller(gateways.PollerConfig{Name: "hub", Source: s, Interval: interval, Timeout: 20 * time.Second, Log: log})
	p.SetPeers(peers())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return p
}

func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }

// gathering gathers the series of a gateway.
func gathering(p *gateways.Poller) prometheus.Gatherer {
	m := gateways.NewMetrics(func() []*gateways.Poller { return []*gateways.Poller{p} })
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		page := m.Open()
		defer page.Close()
		return collectorstest.Families(page), nil
	})
}

// page is what a scrape shows, without what depends on time.
func page(t *testing.T, p *gateways.Poller) string {
	t.Helper()
	families, err := prometheus.Gatherers{gathering(p)}.Gather() // which checks that they are consistent
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			lines = append(lines, fmt.Sprintf("%s{%s} %v\n", strings.TrimPrefix(f.GetName(), "ipsec_path_"),
				strings.Join(labels, ","), m.GetGauge().GetValue()+m.GetCounter().GetValue()))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func TestPageOfAGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		release := make(chan struct{})
		f.set(func(context.Context) (gateways.Table, error) {
			<-release
			return up("a"), nil
		})
		p := run(t, f, silent())
		synctest.Wait()
		if got := page(t, p); got != "" {
			t.Errorf("before the first reading has ended:\n%s", got)
		}
		stranger := up("b")
		stranger.IKE[0].Peer.Address = netip.MustParseAddr("198.51.100.1")
		stranger.Children[0].Peer = stranger.IKE[0].Peer
		table := up("a")
		table.Children[0].Lost, table.Children[0].Errors[gateways.Duplicate] = gateways.Counted(2), gateways.Counted(4)
		table.IKE = append(table.IKE, stranger.IKE...)
		table.Children = append(table.Children, stranger.Children...)
		table.Counters = []gateways.DeviceCounter{{Kind: "pmtu_received", Value: 3}}
		table.Unparsed = 2
		f.shows(table)
		close(release)
		time.Sleep(interval + time.Second)
		want := `child_sas{gateway=hub,isp=acme,peer=hq,state=installed} 1
child_sas{gateway=hub,peer=_unmatched,state=installed} 1
gateway_errors_total{gateway=hub,kind=pmtu_received} 3
gateway_info{gateway=hub,type=fake,version=1.0} 1
gateway_path_mtu_bytes{gateway=hub,isp=acme,peer=hq} 1500
gateway_read_duration_seconds{gateway=hub} 0
gateway_unparsed_lines{gateway=hub} 2
gateway_up{gateway=hub} 1
ike_sa_established_timestamp_seconds{gateway=hub,isp=acme,peer=hq} 9.466848e+08
ike_sas_vendor_state{gateway=hub,isp=acme,peer=hq,vendor_state=READY} 1
ike_sas_vendor_state{gateway=hub,peer=_unmatched,vendor_state=READY} 1
ike_sas{gateway=hub,isp=acme,peer=hq,state=established,version=2} 1
ike_sas{gateway=hub,peer=_unmatched,state=established,version=2} 1
sa_bytes_total{direction=out,gateway=hub,isp=acme,peer=hq} 700
sa_bytes_total{direction=out,gateway=hub,peer=_unmatched} 700
sa_lost_packets_total{gateway=hub,isp=acme,peer=hq} 2
sa_packets_total{direction=in,gateway=hub,isp=acme,peer=hq} 5
sa_packets_total{direction=in,gateway=hub,peer=_unmatched} 5
sa_packets_total{direction=out,gateway=hub,isp=acme,peer=hq} 7
sa_packets_total{direction=out,gateway=hub,peer=_unmatched} 7
sa_receive_errors_total{gateway=hub,isp=acme,kind=duplicate,peer=hq} 4
tunnel_downs_total{gateway=hub,isp=acme,peer=hq} 0
tunnel_ups_total{gateway=hub,isp=acme,peer=hq} 0
tunnel_up{gateway=hub,isp=acme,peer=hq} 1
`
		if diff := cmp.Diff(want, page(t, p)); diff != "" {
			t.Error(diff)
		}
		p.SetPeers(nil)
		if got := page(t, p); strings.Contains(got, "peer=hq") || !strings.Contains(got, "ike_sas{gateway=hub,peer=_unmatched,state=established,version=2} 2") {
			t.Errorf("after the peer was removed:\n%s", got)
		}
		if problems, err := testutil.GatherAndLint(gathering(p)); err != nil || len(problems) > 0 {
			t.Error(problems, err)
		}
	})
}

func TestAbsentTunnel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.shows(up("a"))
		p := run(t, f, silent())
		time.Sleep(time.Second)
		f.shows(gateways.Table{Info: gateways.Info{Type: "fake"}})
		time.Sleep(4 * interval)
		got := page(t, p)
		for _, want := range []string{
			"tunnel_up{gateway=hub,isp=acme,peer=hq} 0\n", "tunnel_downs_total{gateway=hub,isp=acme,peer=hq} 1\n",
			"sa_packets_total{direction=out,gateway=hub,isp=acme,peer=hq} 7\n",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("%q is missing in\n%s", want, got)
			}
		}
		if strings.Contains(got, "ike_sas") || strings.Contains(got, "path_mtu") || strings.Contains(got, "established") {
			t.Errorf("there are SAs in\n%s", got)
		}
		if h, ok := p.History("hq"); !ok || h.NoSA().IsZero() {
			t.Errorf("history %+v, %v", h, ok)
		}
		f.shows(up("b"))
		time.Sleep(interval)
		if got := page(t, p); !strings.Contains(got, "tunnel_ups_total{gateway=hub,isp=acme,peer=hq} 1\n") || !strings.Contains(got, "direction=out,gateway=hub,isp=acme,peer=hq} 14\n") {
			t.Errorf("after it came back:\n%s", got)
		}
	})
}

func TestGatewayThatCannotBeRead(t *testing.T) {
	for name, fault := range map[string]func(ctx context.Context) (gateways.Table, error){
		"error": func(context.Context) (gateways.Table, error) { return up("a"), errors.New("refused") },
		"hangs": func(ctx context.Context) (gateways.Table, error) {
			<-ctx.Done()
			return gateways.Table{}, ctx.Err()
		},
		"panics": func(context.Context) (gateways.Table, error) { panic("index out of range") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{}
				f.shows(up("a"))
				var log strings.Builder
				p := run(t, f, slog.New(slog.NewTextHandler(&log, nil)))
				time.Sleep(time.Second)
				f.set(fault)
				time.Sleep(2 * interval)
				got := page(t, p)
				if strings.Count(got, "\n") != 2 || !strings.Contains(got, "gateway_up{gateway=hub} 0\n") {
					t.Errorf("page:\n%s", got)
				}
				if h, ok := p.History("hq"); !ok || len(h.Observations) == 0 {
					t.Error("what was read lately is forgotten")
				}
				time.Sleep(2 * interval)
				if h, ok := p.History("hq"); !ok || len(h.Observations) > 0 || !h.Expected {
					t.Errorf("what was read long ago is known: %+v", h)
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				n, warned := len(f.reads), strings.Count(log.String(), "level=WARN")
				if n < 10 || n > 20 || warned != 1 {
					t.Errorf("%d readings in an hour, %d warnings", n, warned)
				}
				f.shows(up("a"))
				time.Sleep(5 * time.Minute)
				if got := page(t, p); !strings.Contains(got, "tunnel_up{gateway=hub,isp=acme,peer=hq} 1\n") {
					t.Errorf("after it came back:\n%s", got)
				}
				if h, _ := p.History("hq"); len(h.Observations) == 0 || time.Since(h.Observations[0].At) > 5*time.Minute {
					t.Errorf("what was before the gap is taken for what went on: %+v", h)
				}
			})
		})
	}
}

// TestUnresolvedPeer: while its address is unknown, its tunnel is neither up nor down, and
// that it is known counts nothing.
func TestUnresolvedPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.shows(up("a"))
		p := run(t, f, silent())
		synctest.Wait()
		p.SetPeers([]gateways.Peer{{Name: "hq", Expected: true}})
		time.Sleep(5 * interval)
		if got := page(t, p); strings.Contains(got, "tunnel_up{") || !strings.Contains(got, "ike_sas{gateway=hub,peer=_unmatched") {
			t.Errorf("page:\n%s", got)
		}
		if h, _ := p.History("hq"); !h.NoSA().IsZero() {
			t.Errorf("no SA since %v", h.NoSA())
		}
		p.SetPeers(peers())
		time.Sleep(2 * interval)
		got := page(t, p)
		for _, line := range []string{"tunnel_up{gateway=hub,isp=acme,peer=hq} 1\n", "tunnel_ups_total{gateway=hub,isp=acme,peer=hq} 0\n", "tunnel_downs_total{gateway=hub,isp=acme,peer=hq} 0\n"} {
			if !strings.Contains(got, line) {
				t.Errorf("no %q in:\n%s", line, got)
			}
		}
	})
}

// TestSettled: one reading tells what a gateway shows, and so do two failures, but not one.
func TestSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.set(func(context.Context) (gateways.Table, error) { return gateways.Table{}, errors.New("refused") })
		p := gateways.NewPoller(gateways.PollerConfig{Name: "hub", Source: f, Interval: interval, Timeout: time.Second, Log: silent()})
		p.SetPeers(peers())
		for i, want := range []bool{false, false, true, true} {
			if p.Settled() != want {
				t.Errorf("after %d failures: settled is %v", i, !want)
			}
			p.Poll(t.Context())
		}
		f.shows(up("a"))
		p.Poll(t.Context())
		if !p.Settled() {
			t.Error("not settled by a reading")
		}
		time.Sleep(time.Hour)
		if p.Settled() {
			t.Error("settled by a reading of an hour ago")
		}
	})
}

// TestPeerOfARunningGateway: the newest reading is the first one of a peer that is new, unless it is
// out of date.
func TestPeerOfARunningGateway(t *testing.T) {
	for name, tt := range map[string]struct {
		age  time.Duration
		want int
	}{"current": {interval, 1}, "out of date": {time.Hour, 0}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{}
				f.shows(gateways.Table{})
				p := gateways.NewPoller(gateways.PollerConfig{Name: "hub", Source: f, Interval: interval, Timeout: time.Second, Log: silent()})
				read := time.Now()
				p.Poll(t.Context())
				time.Sleep(tt.age)
				p.SetPeers(peers())
				p.SetPeers(peers()) // the same again adds nothing
				h, _ := p.History("hq")
				if n := len(h.Observations); n != tt.want {
					t.Fatalf("%d observations, want %d", n, tt.want)
				}
				if tt.want > 0 && (!h.Expected || !h.NoSA().Equal(read)) {
					t.Errorf("expected %v, no SA since %v, want %v", h.Expected, h.NoSA(), read)
				}
			})
		})
	}
}

// A source that ignores its context is a bug of ours: it must still not look healthy.
func TestOldReadingIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.shows(up("a"))
		p := run(t, f, silent())
		time.Sleep(time.Second)
		release := make(chan struct{})
		f.set(func(context.Context) (gateways.Table, error) {
			<-release
			return gateways.Table{}, nil
		})
		time.Sleep(4 * interval)
		if got := page(t, p); strings.Contains(got, "tunnel_up") || !strings.Contains(got, "gateway_up{gateway=hub} 0\n") {
			t.Errorf("page:\n%s", got)
		}
		close(release)
	})
}

func TestEventsBetweenReadings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{events: make(chan gateways.Event)}
		f.shows(up("a"))
		p := run(t, watched{f}, silent())
		send := func(key string, up bool) {
			f.events <- gateways.Event{Peer: hq, Key: key, Up: up, When: time.Now()}
			synctest.Wait()
		}
		expect := func(what string, ups, downs uint64) {
			t.Helper()
			if s := p.Snapshot().Peers[0]; s.Ups != ups || s.Downs != downs {
				t.Errorf("%s: %d ups, %d downs, want %d and %d", what, s.Ups, s.Downs, ups, downs)
			}
		}
		time.Sleep(time.Second)
		send("b", true)
		send("a", false)
		expect("rekey", 0, 0)
		send("b", false)
		send("c", true)
		expect("flap", 1, 1)
		f.shows(up("c"))
		time.Sleep(interval)
		expect("reading", 1, 1)
		// A reading that began before an event says less than the event.
		f.set(func(context.Context) (gateways.Table, error) {
			time.Sleep(10 * time.Second)
			return up("c"), nil
		})
		time.Sleep(interval + time.Second)
		send("c", false)
		expect("event during a reading", 1, 2)
		time.Sleep(10 * time.Second)
		expect("the reading that began before it", 1, 2)
		f.events <- gateways.Event{Peer: gateways.Identity{Name: "stranger"}, Up: true, When: time.Now()}
		close(f.events)
	})
}

func TestEstablishedDoesNotTremble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		var began, n atomic.Int64
		began.Store(946684800)
		f.set(func(context.Context) (gateways.Table, error) {
			t := up("a")
			t.IKE[0].Established = time.Unix(began.Load()+n.Add(1)%3-1, 0)
			return t, nil
		})
		p := run(t, f, silent())
		time.Sleep(time.Second)
		first := p.Snapshot().Peers[0].Established
		for range 5 {
			time.Sleep(interval)
			if got := p.Snapshot().Peers[0].Established; !got.Equal(first) {
				t.Errorf("established %v, then %v", first, got)
			}
		}
		began.Add(60)
		time.Sleep(interval)
		if got := p.Snapshot().Peers[0].Established; got.Equal(first) {
			t.Error("a new SA is not seen")
		}
	})
}

// closing is a source whose Close is final, as that of most is.
type closing struct {
	fake
	closed atomic.Bool
}

func (c *closing) Close() error {
	c.closed.Store(true)
	return c.fake.Close()
}

// TestPanicIsOneFailedReading: it closes nothing, and its stack is in the log only.
func TestPanicIsOneFailedReading(t *testing.T) {
	f := &closing{}
	f.set(func(context.Context) (gateways.Table, error) { panic("index out of range") })
	var log strings.Builder
	p := gateways.NewPoller(gateways.PollerConfig{Name: "hub", Source: f, Interval: interval, Timeout: time.Second, Log: slog.New(slog.NewTextHandler(&log, nil))})
	p.Poll(t.Context())
	if f.closed.Load() {
		t.Error("the source was closed")
	}
	if err := p.Snapshot().Err; err == nil || err.Error() != "reading panicked: index out of range" {
		t.Errorf("%v", err)
	}
	if !strings.Contains(log.String(), "poller_test.go") {
		t.Errorf("no stack is in the log: %s", &log)
	}
}
