package alerts

import (
	"bytes"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/daemons"
)

// smallLink is what the narrow link of a black hole carries.
const smallLink = 1400

// A customer is a peer behind a provider of its own, with strongSwan as its gateway.
type customer struct {
	*netlab.Provider
	name, isp string
}

func newCustomer(t *testing.T, client *netlab.NS, block byte, name, isp string) *customer {
	t.Helper()
	p := netlab.NewProviderAt(t, netlab.Plan{Client: client, Block: block, OnlyIPv4: true})
	daemons.StartStrongSwan(t, p.Server, daemons.StrongSwan{Conn: daemons.StrongSwanPeer(2, p.ServerAddr(false), p.ClientAddr(false))})
	return &customer{Provider: p, name: name, isp: isp}
}

// line is the customer in the exporter's configuration.
func (c *customer) line() string {
	return fmt.Sprintf("- {name: %q, address: %s, labels: {isp: %s}}\n", c.name, c.ServerAddr(false), c.isp)
}

// narrow puts a black hole in the middle of the path; widen takes it away.
func (c *customer) narrow(t *testing.T) {
	t.Helper()
	c.DropPTB(t)
	c.SetMTU(t, smallLink)
}

func (c *customer) widen(t *testing.T) {
	t.Helper()
	c.SetMTU(t, netlab.DefaultMTU)
	for _, f := range c.Faults() {
		c.Heal(t, f)
	}
}

// A scene is a stack that measures customers, all of them known to be healthy.
type scene struct {
	*stack
	all []*customer
}

// newScene makes one of these customers, given as name and provider, with a number of its own.
func newScene(t *testing.T, n int, customers ...[2]string) *scene {
	t.Helper()
	daemons.NeedStrongSwan(t)
	s := &scene{stack: newStack(t, n)}
	client := netlab.Here(t)
	var text strings.Builder
	text.WriteString("peers:\n")
	for i, c := range customers {
		s.all = append(s.all, newCustomer(t, client, byte(20+10*n+i), c[0], c[1]))
		text.WriteString(s.all[i].line())
	}
	s.configure(t, text.String())
	s.start("--config.file=" + s.configFile)
	s.eventually(t, s.settled, "all peers healthy, and quiet", func() bool {
		n, _ := s.number(t, "sum(ipsec_path_peer_healthy)")
		return n == float64(len(s.all)) && len(s.firing(t)) == 0
	})
	time.Sleep(s.of(5*time.Minute) + time.Second) // resolved alerts have been sent by now
	return s
}

// TestPages: from the path to the pager, with strongSwan, the built exporter, Prometheus and
// Alertmanager, and the rules and routes as they are delivered, except that everything is faster
// (see tempo).
func TestPages(t *testing.T) {
	t.Parallel()
	s := newScene(t, 0, [2]string{"head office", "acme"}, [2]string{"bergen", "globex"}, [2]string{"cusco", "globex"}, [2]string{"dakar", "globex"})
	s.blackHole(t, s.all[0])
	s.provider(t, s.all[1:])
	s.clean(t)
}

const blackHoleAlert = "IPsecPathPMTUBlackHole"

// paged is in what time a fault is a page, once it can be seen: when the path MTU is measured next,
// and what diagnosis, two scrapes, the rule and the group wait for.
func (s *stack) paged(wait time.Duration) time.Duration {
	return s.detected + 2*s.scrape + s.of(wait) + s.of(30*time.Second) + 2*time.Second
}

// TestHealthyUnderLoss: healthy peers are quiet, also where one packet of twenty is lost each way.
func TestHealthyUnderLoss(t *testing.T) {
	t.Parallel()
	s := newScene(t, 1, [2]string{"head office", "acme"}, [2]string{"bergen", "globex"})
	began := time.Now()
	for _, c := range s.all {
		c.Loss(t, 5)
	}
	time.Sleep(s.healthy)
	if n := s.notified(began); len(n) > 0 {
		t.Errorf("notified: %+v", n)
	}
	if v, _ := s.number(t, fmt.Sprintf(`count(count_over_time(ALERTS{alertstate="firing"}[%.0fs])) or vector(0)`, time.Since(began).Seconds())); v != 0 {
		t.Errorf("%v alerts fired", v)
	}
	if lost, _ := s.number(t, `min(1 - ipsec_path_icmp_replies_total / ipsec_path_icmp_requests_total)`); lost < 0.02 {
		t.Errorf("only a share of %.3f of the echoes was lost", lost)
	}
}

// blackHole: one is switched on, the page arrives in time, with its evidence; it is switched off,
// and the resolve arrives.
func (s *scene) blackHole(t *testing.T, c *customer) {
	t.Helper()
	c.narrow(t)
	began := time.Now()
	page := s.await(t, began, s.paged(2*time.Minute), "page", about(blackHoleAlert, "firing"))
	if page.receiver != "pager" || len(page.Alerts) != 1 || page.GroupLabels["isp"] != c.isp {
		t.Errorf("page: %+v", page)
	}
	a := page.Alerts[0]
	if a.Labels["peer"] != c.name || a.Labels["severity"] != "critical" {
		t.Errorf("labels: %v", a.Labels)
	}
	for _, want := range []string{
		c.ServerAddr(false).String(), "provider " + c.isp, fmt.Sprintf("passed is %d bytes", smallLink), fmt.Sprintf("vanished %d bytes", smallLink+1),
		"http://" + s.at.exporter + "/peers/head%20office", began.UTC().Format("2006-01-02"),
	} {
		if !strings.Contains(a.Annotations["description"], want) {
			t.Errorf("no %q in the description:\n%s", want, a.Annotations["description"])
		}
	}
	if !strings.HasSuffix(a.Annotations["runbook_url"], "/"+blackHoleAlert+".md") || !strings.Contains(a.Annotations["dashboard_url"], "var-peer=head") {
		t.Errorf("annotations: %v", a.Annotations)
	}
	get(t, "http://"+s.at.exporter+"/peers/head%20office/report")
	time.Sleep(s.of(10*time.Minute) + s.of(time.Minute)) // what else follows from it fires by now, and is inhibited
	for _, n := range s.notified(began) {
		if n.GroupLabels["alertname"] != blackHoleAlert {
			t.Errorf("notified besides: %+v", n)
		}
	}
	c.widen(t)
	healed := time.Now()
	s.await(t, healed, s.paged(0)+s.of(5*time.Minute), "resolve", about(blackHoleAlert, "resolved"))
}

// TestExporterDies: a black hole whose exporter is killed stays, and a page reports that no
// exporter watches. A restart changes nothing about the black hole.
func TestExporterDies(t *testing.T) {
	t.Parallel()
	s := newScene(t, 2, [2]string{"head office", "acme"})
	c := s.all[0]
	c.narrow(t)
	began := time.Now()
	s.await(t, began, s.paged(2*time.Minute)+s.of(5*time.Minute), "page", about(blackHoleAlert, "firing"))
	since, _ := s.number(t, `ALERTS_FOR_STATE{alertname="`+blackHoleAlert+`"}`)
	s.kill(t)
	died := time.Now()
	s.await(t, died, 2*s.scrape+s.of(3*time.Minute)+s.of(30*time.Second)+5*time.Second, "page that the exporter is down",
		func(n *notification) bool {
			return n.receiver == "pager" && n.GroupLabels["alertname"] == "IPsecPathExporterDown" && n.Status == "firing"
		})
	time.Sleep(s.of(5 * time.Minute)) // a group interval: a resolved alert would be sent
	s.start("--config.file=" + s.configFile)
	restarted := time.Now()
	s.await(t, restarted, 2*s.scrape+s.of(5*time.Minute)+10*time.Second, "resolve of the exporter", func(n *notification) bool {
		return n.GroupLabels["alertname"] == "IPsecPathExporterDown" && n.Status == "resolved"
	})
	s.eventually(t, s.detected+30*time.Second, "diagnosed again", func() bool {
		n, _ := s.number(t, `ipsec_path_diagnosis{diagnosis="pmtu_black_hole"}`)
		return n == 1
	})
	for _, n := range s.notified(began) {
		if n.GroupLabels["alertname"] == blackHoleAlert && len(n.peers("resolved")) > 0 {
			t.Errorf("resolved: %+v", n)
		}
	}
	if now, ok := s.number(t, `ALERTS_FOR_STATE{alertname="`+blackHoleAlert+`"}`); !ok || now != since {
		t.Errorf("the black hole began at %v, and now at %v", since, now)
	}
	c.widen(t)
	healed := time.Now()
	s.await(t, healed, s.paged(0)+s.of(5*time.Minute), "resolve", about(blackHoleAlert, "resolved"))
}

// provider: three of its peers break, and one page says so.
func (s *scene) provider(t *testing.T, all []*customer) {
	t.Helper()
	began := time.Now()
	for _, c := range all {
		c.narrow(t)
	}
	page := s.await(t, began, s.paged(2*time.Minute), "page about the provider", func(n *notification) bool {
		return n.GroupLabels["alertname"] == "IPsecPathProviderFault" && n.Status == "firing"
	})
	if page.receiver != "pager" || len(page.Alerts) != 1 || page.Alerts[0].Labels["isp"] != "globex" || page.Alerts[0].Labels["severity"] != "critical" {
		t.Errorf("page: %+v", page)
	}
	for _, c := range all {
		if !strings.Contains(page.Alerts[0].Annotations["description"], c.name) {
			t.Errorf("%s is not in the page: %s", c.name, page.Alerts[0].Annotations["description"])
		}
	}
	time.Sleep(s.of(2*time.Minute) + s.of(5*time.Minute)) // any other alert would be sent
	others := began
	if !*realTime { // the path MTUs are measured one after the other, which takes longer here than the page about a single peer waits
		others = page.at
	}
	for _, n := range s.notified(others) {
		if n.receiver == "pager" && len(n.peers("firing")) > 0 && n.GroupLabels["alertname"] != "IPsecPathProviderFault" {
			t.Errorf("a page besides: %+v", n)
		}
	}
	for _, c := range all {
		c.widen(t)
	}
	s.await(t, time.Now(), s.paged(0)+s.of(5*time.Minute), "resolve", func(n *notification) bool {
		return n.GroupLabels["alertname"] == "IPsecPathProviderFault" && n.Status == "resolved"
	})
}

// clean: neither Prometheus nor promtool has anything to say about the exporter's page.
func (s *scene) clean(t *testing.T) {
	t.Helper()
	for line := range strings.Lines(s.prometheus.Log()) {
		if strings.Contains(line, "level=warn") || strings.Contains(line, "level=error") {
			t.Errorf("prometheus: %s", line)
		}
	}
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	cmd.Stdin = bytes.NewReader(get(t, "http://"+s.at.exporter+"/metrics"))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

// TestEveryFaultHasItsAlert: the demonstration has a peer behind each classic fault; each raises
// its own alerts and no others.
func TestEveryFaultHasItsAlert(t *testing.T) {
	t.Parallel()
	s := newStack(t, 3)
	s.start("demo")
	want := []string{
		"ESPBlocked esp-blocked", "ICMPFiltered black-hole-no-icmp", "ICMPFiltered icmp-dropped", "ICMPFiltered negotiation-stuck",
		"IKEFragmentsDropped fragments-dropped", "NegotiationStuck negotiation-stuck", "PMTUBlackHole black-hole",
		"PMTUBlackHole black-hole-both-ways", "PMTUBlackHole black-hole-ipv6", "PMTUBlackHole black-hole-no-icmp",
		"PMTUBlackHole negotiation-stuck", "PMTUBlackHole tunnel-oversized", "PMTUBlackHoleReverse black-hole-back",
		"PMTUBlackHoleReverse black-hole-both-ways", "PMTUBlackHoleReverse black-hole-ipv6", "PeerUnreachable unreachable",
		"ProviderFault acme", "ProviderFault acme", // tunnels fail at some of its peers, and traffic is filtered at others
		"ProviderFault initech", "TunnelOversized tunnel-oversized", "UDP4500Blocked udp4500-blocked",
	}
	slices.Sort(want)
	began := time.Now()
	within := 90*time.Second + s.of(time.Hour) + 30*time.Second
	s.eventually(t, within, "all alerts", func() bool { return slices.Equal(s.firing(t), want) })
	t.Logf("all alerts fire after %.0f s", time.Since(began).Seconds())
	seen := make(map[string]bool)
	for _, v := range s.query(t, fmt.Sprintf(`max_over_time(ALERTS{alertstate="firing"}[%.0fs])`, time.Since(began).Seconds()+1)) {
		seen[alertOf(v.Metric)] = true
	}
	if diff := cmp.Diff(slices.Compact(want), slices.Sorted(maps.Keys(seen))); diff != "" {
		t.Errorf("fired at some time (-want +got):\n%s", diff)
	}
}
