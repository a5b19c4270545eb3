package exporter

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/gateways/ciscoasa"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/daemons"
)

// vpn is a lab with a charon at each end, which carries ESP itself.
type vpn struct {
	*lab
	client, server *daemons.Charon
}

func newVPN(t *testing.T, clientConn, serverConn string, p *netlab.Provider) *vpn {
	t.Helper()
	v := &vpn{lab: &lab{Lab: &exportertest.Lab{Provider: p}}}
	charon := func(n *netlab.NS, conn, more string) *daemons.Charon {
		return daemons.StartStrongSwan(t, n, daemons.StrongSwan{Conn: conn, Libipsec: true, Charon: more + daemons.AggressivePSK})
	}
	daemons.AddProtected(t, p.Server, p.ServerAddr(false))
	daemons.AddProtected(t, p.Client, p.ClientAddr(false))
	v.server = charon(p.Server, serverConn, "")
	v.client = charon(p.Client, clientConn, "install_virtual_ip = yes\n")
	return v
}

// gatewayFile is a configuration whose only gateway is the client's charon.
func (v *vpn) gatewayFile(peer string) string {
	return quick + "gateways: [{name: local, type: strongswan, socket: 'unix://" + v.client.Socket() + "', interval: 2s}]\n" +
		"peers:\n- {name: hq, address: " + v.Address(false) + ", labels: {site: haiti}, collectors: [icmp]" + peer + "}\n"
}

// TestTunnelOfADaemon: a tunnel that comes up and goes down again, and its gateway that is
// restarted.
func TestTunnelOfADaemon(t *testing.T) {
	t.Parallel()
	daemons.NeedStrongSwan(t)
	p := netlab.NewProvider(t)
	client, server := p.ClientAddr(false), p.ServerAddr(false)
	v := newVPN(t, daemons.StrongSwanPeer(2, client, server), daemons.StrongSwanPeer(2, server, client), p)
	s := v.serve(t, v.gatewayFile(", gateways: [local]"))
	const up = `tunnel_up{gateway="local",peer="hq",site="haiti"}`
	s.await(t, soon, up, 0)
	if !v.client.InitiateChild(t, "net", 10) {
		t.Fatal("no tunnel")
	}
	s.await(t, soon, up, 1)
	s.await(t, soon, `ike_sas{gateway="local",peer="hq",site="haiti",state="established",version="2"}`, 1)
	s.await(t, soon, `child_sas{gateway="local",peer="hq",site="haiti",state="installed"}`, 1)
	s.await(t, soon, `tunnel_ups_total{gateway="local",peer="hq",site="haiti"}`, 1)

	// An unchanged gateway keeps what it has counted over a reload; the peer is expected nowhere
	// now.
	if err := s.configure(t, v.gatewayFile(", match: {ids: [x]}")); err != nil {
		t.Fatal(err)
	}
	if page := s.scrape(t); len(page["ipsec_path_tunnel_up"].GetMetric()) != 0 {
		t.Error("tunnel_up of a pair that is not expected")
	}
	s.await(t, soon, `tunnel_ups_total{gateway="local",peer="hq",site="haiti"}`, 1)
	if err := s.configure(t, v.gatewayFile(", gateways: [local]")); err != nil {
		t.Fatal(err)
	}
	s.await(t, soon, up, 1)

	v.client.Stop(t)
	s.await(t, soon, `gateway_up{gateway="local"}`, 0)
	if page := s.scrape(t); len(page["ipsec_path_tunnel_up"].GetMetric())+len(page["ipsec_path_ike_sas"].GetMetric()) != 0 {
		t.Error("a gateway that cannot be read has series")
	}
	v.client.Restart(t)
	s.await(t, soon, `gateway_up{gateway="local"}`, 1)
	s.await(t, soon, up, 0)

	if err := s.configure(t, quick+"peers:\n- {name: hq, address: "+v.Address(false)+", collectors: [icmp]}\n"); err != nil {
		t.Fatal(err)
	}
	if page := s.scrape(t); len(page["ipsec_path_gateway_up"].GetMetric()) != 0 {
		t.Error("series of a removed gateway")
	}
}

// watchedLong is twice as long as a negotiation is watched before it is called stuck, and some: on a
// busy machine a gap between readings makes it begin again.
const watchedLong = 4*time.Minute + soon

// TestNegotiationOfADaemonIsStuck: the answer to XAUTH is lost on the path.
func TestNegotiationOfADaemonIsStuck(t *testing.T) {
	t.Parallel()
	daemons.NeedStrongSwan(t)
	p := netlab.NewProvider(t)
	client, server := p.ClientAddr(false), p.ServerAddr(false)
	v := newVPN(t, daemons.EZVPNClient(client, server), daemons.EZVPNServer(server), p)
	v.DropIKEExchange(t, netlab.Transaction, 0, netlab.Forward)
	s := v.serve(t, v.gatewayFile(", gateways: [local]"))
	// A branch tries again and again.
	tries, stop := context.WithCancel(t.Context())
	var trying sync.WaitGroup
	trying.Go(func() {
		for tries.Err() == nil {
			if v.client.InitiateChild(t, "net", 10) {
				t.Error("there is a tunnel")
			}
		}
	})
	defer trying.Wait()
	defer stop()
	s.await(t, soon, `ike_sas{gateway="local",peer="hq",site="haiti",state="xauth",version="1"}`, 1)
	s.await(t, watchedLong, `diagnosis{diagnosis="negotiation_stuck",gateway="local",peer="hq",severity="critical",site="haiti"}`, 1)
	if s.logged.Count("XAUTH") == 0 {
		t.Errorf("log:\n%s", s.logged)
	}
}

// replayed is a configuration with one gateway and one peer.
func replayed(address, peer string) string {
	return quick + "gateways: [{name: hub, type: xfrm, interval: 1s}]\npeers:\n- {name: branch, address: " + address + ", gateways: [hub]" + peer + "}\n"
}

// TestNegotiationOfAnASAIsStuck: the diagnosis names the state in the device's own word.
func TestNegotiationOfAnASAIsStuck(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.open = exportertest.Replay(exportertest.ASAGateway("AM_TM_INIT_XAUTH_V6C", l.Address(false), 0))
	s := l.serve(t, replayed(l.Address(false), ", collectors: [icmp]"))
	s.await(t, soon, `ike_sas_vendor_state{gateway="hub",peer="branch",vendor_state="AM_TM_INIT_XAUTH_V6C"}`, 1)
	s.await(t, watchedLong, `diagnosis{diagnosis="negotiation_stuck",gateway="hub",peer="branch",severity="critical"}`, 1)
	p, _ := s.find("branch")
	held := p.Tracker.Held()
	if i := slices.IndexFunc(held, func(d diagnosis.Held) bool { return d.Gateway == "hub" }); i < 0 ||
		!strings.Contains(strings.Join(held[i].Evidence, "\n"), "AM_TM_INIT_XAUTH_V6C") || !strings.Contains(held[i].Summary, "XAUTH") {
		t.Errorf("held: %+v", held)
	}
}

// TestTunnelTooLargeForItsPath: an ASA believes 1500 bytes over a path that swallows all above
// 1400.
func TestTunnelTooLargeForItsPath(t *testing.T) {
	t.Parallel()
	for believed, want := range map[int]bool{1500: true, 1400: false} {
		t.Run(strconv.Itoa(believed), func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.Apply(t, "S2")
			l.open = exportertest.Replay(exportertest.ASAGateway("MM_ACTIVE", l.Address(false), believed))
			s := l.serve(t, replayed(l.Address(false), ""))
			s.await(t, soon, `tunnel_up{gateway="hub",peer="branch"}`, 1)
			s.await(t, soon, `gateway_path_mtu_bytes{gateway="hub",peer="branch"}`, float64(believed))
			s.await(t, 2*soon, `diagnosis{diagnosis="pmtu_black_hole",peer="branch",severity="critical"}`, 1)
			const oversized = `diagnosis{diagnosis="tunnel_oversized",gateway="hub",peer="branch",severity="warning"}`
			if want {
				s.await(t, soon, oversized, 1)
				return
			}
			time.Sleep(3 * time.Second) // three more readings
			if s.is(t, oversized, 1) {
				t.Error("oversized, at the path's own MTU")
			}
		})
	}
}

// hung is a gateway that answers nothing, ever.
type hung struct{ began atomic.Bool }

func (h *hung) Read(ctx context.Context) (gateways.Table, error) {
	h.began.Store(true)
	<-ctx.Done()
	return gateways.Table{}, ctx.Err()
}

func (*hung) Close() error { return nil }

// TestHungGatewayDelaysNothing: no scrape, no reload, no other gateway.
func TestHungGatewayDelaysNothing(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	h := &hung{}
	transcript := exportertest.ASAGateway("MM_ACTIVE", l.Address(false), 1500)
	l.open = func(g *config.Gateway) (gateways.Source, error) {
		if g.Name == "hung" {
			return h, nil
		}
		return ciscoasa.Replay(transcript)
	}
	text := quick + "gateways: [{name: hung, type: xfrm, interval: 1m}, {name: hub, type: xfrm, interval: 1s}]\n" +
		"peers: [{name: branch, address: " + l.Address(false) + ", gateways: [hub, hung], collectors: [icmp]}]\n"
	s := l.serve(t, text)
	exportertest.Eventually(t, soon, "a reading", h.began.Load)
	s.await(t, soon, `tunnel_up{gateway="hub",peer="branch"}`, 1)
	if _, ok := s.scrape(t).value(`gateway_up{gateway="hung"}`); ok {
		t.Error("gateway_up before the first reading has ended")
	}
	began := time.Now()
	if err := s.configure(t, quick+"peers: [{name: branch, address: "+l.Address(false)+", collectors: [icmp]}]\n"); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("the reload took %v", took)
	}
}

// TestSecretsAreShownNowhere: a device that repeats what it was sent.
func TestSecretsAreShownNowhere(t *testing.T) {
	t.Parallel()
	const planted = "PLANTED-4cd1"
	l := newLab(t)
	asked := make(chan struct{}, 100)
	device := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		// Of an answer that is a refusal, the first line is shown.
		fmt.Fprintf(w, "ERROR: %s %s\n", password, r.Header.Get("Authorization"))
		select {
		case asked <- struct{}{}:
		default:
		}
	}))
	t.Cleanup(device.Close)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(planted+"\n"), 0o604); err != nil {
		t.Fatal(err)
	}
	s := l.serve(t, quick+"gateways: [{name: hub, type: cisco_asa, transport: https, insecure: true, address: '"+
		strings.TrimPrefix(device.URL, "https://")+"', username: u, password_file: "+secret+", interval: 5s}]\n"+
		"peers: [{name: branch, address: "+l.Address(false)+", gateways: [hub], collectors: [icmp]}]\n")
	<-asked
	s.await(t, soon, `gateway_up{gateway="hub"}`, 0)
	if err := s.reload.reload(t.Context()); err != nil { // logs what is wrong with secrets
		t.Fatal(err)
	}
	if s.logged.Count("readable by every user") != 1 || s.logged.Count("gateway cannot be read") != 1 {
		t.Errorf("log:\n%s", s.logged)
	}
	_, metrics := fetch(t, s.metrics, acceptText)
	_, _, shownPage := get(t, s.site(t), "/peers/branch")
	_, _, shownReport := get(t, s.site(t), "/peers/branch/report?format=json")
	snapshot := s.readers.Pollers()[0].Snapshot()
	shown := fmt.Sprintf("%s\n%s\n%s\n%s\n%+v\n%+v", s.logged, metrics, shownPage, shownReport, s.status(time.Now())(), snapshot)
	for _, secret := range []string{planted, "dTpQTEFOVEVELTRjZDE="} { // u:PLANTED-4cd1 in base64
		if strings.Contains(shown, secret) {
			t.Errorf("%s is shown in:\n%s", secret, shown)
		}
	}
}

// TestSourceThatOpensLate: what cannot be opened is tried again at each reading.
func TestSourceThatOpensLate(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	transcript := exportertest.ASAGateway("MM_ACTIVE", l.Address(false), 1500)
	var tries atomic.Int32
	l.open = func(*config.Gateway) (gateways.Source, error) {
		if tries.Add(1) < 3 {
			return nil, errors.New("not there yet")
		}
		return ciscoasa.Replay(transcript)
	}
	s := l.serve(t, replayed(l.Address(false), ", collectors: [icmp]"))
	s.await(t, soon, `gateway_up{gateway="hub"}`, 0)
	s.await(t, soon, `tunnel_up{gateway="hub",peer="branch"}`, 1)
	p, _ := s.find("branch")
	r := document(p, time.Now())
	if len(r.Gateways) != 1 || r.Gateways[0].Gateway != "hub" || r.Gateways[0].Peers[0].Up != gateways.Yes || len(r.Errors) > 0 {
		t.Errorf("report: %+v, errors %q", r.Gateways, r.Errors)
	}
	if !slices.ContainsFunc(r.Lines(), func(l report.Line) bool {
		return l.Label == "gateway hub" && strings.HasPrefix(l.Text, "up: IKEv1 established (MM_ACTIVE)")
	}) {
		t.Errorf("the page shows %q", r.Lines())
	}
}
