package alerts

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/daemons"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// realTime is how everybody runs it; without it hours are seconds. bench/pages.sh sets it.
var realTime = flag.Bool("real", false, "do not shorten the intervals of exporter, Prometheus, rules and Alertmanager")

// A tempo is how fast everything goes.
type tempo struct {
	scrape time.Duration
	// modules is the beginning of the exporter's configuration.
	modules string
	// detected is in what time a black hole is to be a diagnosis: its interval, and what searching
	// and looking twice take.
	detected time.Duration
	// minute is what a minute of a rule or of Alertmanager takes.
	minute time.Duration
	// settled is in what time everything about a peer was measured: a fragment test that comes
	// before the first answer has to be made again.
	settled time.Duration
	// healthy is how long healthy peers are watched.
	healthy time.Duration
}

func tempoOfTest() tempo {
	if *realTime {
		return tempo{scrape: 15 * time.Second, detected: 75 * time.Second, minute: time.Minute, settled: 7 * time.Minute, healthy: 20 * time.Minute}
	}
	return tempo{
		scrape: time.Second, detected: 25 * time.Second, minute: 2 * time.Second, settled: 2 * time.Minute, healthy: 40 * time.Second,
		modules: "modules: {default: {intervals: {icmp: 200ms, ike: 10s, pmtu: 10s, pmtu_raise: 10s, fragments: 1m}}}\n",
	}
}

// of is how long something takes here that takes d; at least a second.
func (tm tempo) of(d time.Duration) time.Duration {
	return max(time.Second, time.Duration(d.Minutes()*float64(tm.minute)).Round(time.Second))
}

// shortened has the waits of rules or of Alertmanager in the test's tempo: only
// waiting times, not the ranges of computations. Rules about rates keep their waits, because chance
// would fire them with fewer samples; so does the rule that waits for the slowest measurements.
func (tm tempo) shortened(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	waits := regexp.MustCompile(`(?m)^(\s*(?:for|keep_firing_for|group_wait|group_interval): )(\d+[smh])$`)
	if !waits.Match(text) {
		t.Fatalf("%s waits for nothing", file)
	}
	kept := regexp.MustCompile(`peer:ipsec_path_icmp_\w+:(ratio|mean)\d+m|^IPsecPathVerdictUnknown`)
	blocks := strings.Split(string(text), "- alert: ")
	for i, block := range blocks {
		if i > 0 && kept.MatchString(block) {
			continue
		}
		blocks[i] = waits.ReplaceAllStringFunc(block, func(line string) string {
			parts := waits.FindStringSubmatch(line)
			d, err := time.ParseDuration(parts[2])
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf("%s%.0fs", parts[1], tm.of(d).Seconds())
		})
	}
	return strings.Join(blocks, "- alert: ")
}

// Where a stack's programs listen, in a network namespace without other programs.
type places struct{ exporter, prometheus, alertmanager, webhook string }

// webhookOfExample is where the example for Alertmanager has it.
const webhookOfExample = "127.0.0.1:9999"

// placesOf returns the places of one of several stacks, which are numbered from 0.
func placesOf(n int) places {
	at := func(port int) string { return fmt.Sprintf("127.0.0.1:%d", port+n) }
	return places{exporter: at(10500), prometheus: at(9090), alertmanager: at(9190), webhook: at(9990)}
}

// A notification is what a receiver was sent.
type notification struct {
	at          time.Time
	receiver    string
	Status      string
	GroupLabels map[string]string
	Alerts      []event
}

// An event is an alert in a notification.
type event struct {
	Status              string
	Labels, Annotations map[string]string
}

// peers are the names of those whose alert has this status.
func (n *notification) peers(status string) []string {
	var out []string
	for _, a := range n.Alerts {
		if a.Status == status {
			out = append(out, a.Labels["peer"])
		}
	}
	slices.Sort(out)
	return out
}

// A stack is exporter, Prometheus, Alertmanager and a webhook, with the project's own rules and
// routes.
type stack struct {
	tempo
	t                        *testing.T // whose programs they are: they outlive its parts
	program, dir, configFile string
	at                       places
	exporter                 *exec.Cmd
	ended                    chan struct{}
	log                      string // of the exporter
	prometheus               *daemons.Monitor

	mu       sync.Mutex
	received []notification
}

// newStack starts all but the exporter, of a stack with a number of its own.
func newStack(t *testing.T, n int) *stack {
	t.Helper()
	netlab.Need(t)
	daemons.NeedPrometheus(t)
	s := &stack{t: t, tempo: tempoOfTest(), at: placesOf(n), dir: t.TempDir()}
	s.program, s.configFile, s.log = filepath.Join(s.dir, "ipsec_path_exporter"), filepath.Join(s.dir, "config.yml"), filepath.Join(s.dir, "exporter.log")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", s.program, "..").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	s.listen(t)
	if err := os.WriteFile(filepath.Join(s.dir, rulesFile), []byte(s.shortened(t, rulesFile)), 0o600); err != nil {
		t.Fatal(err)
	}
	here := netlab.Here(t)
	routes := s.shortened(t, "alertmanager.example.yml")
	if !strings.Contains(routes, webhookOfExample) {
		t.Fatalf("the example notifies nobody at %s", webhookOfExample)
	}
	daemons.StartAlertmanager(t, here, s.dir, strings.ReplaceAll(routes, webhookOfExample, s.at.webhook), s.at.alertmanager)
	s.prometheus = daemons.StartPrometheus(t, here, s.dir, fmt.Sprintf(`
global: {scrape_interval: %[1]s, evaluation_interval: %[1]s}
rule_files: [%[2]s]
alerting: {alertmanagers: [{static_configs: [{targets: ['%[3]s']}]}]}
scrape_configs: [{job_name: ipsec_path, static_configs: [{targets: ['%[4]s']}]}]
`, s.scrape, rulesFile, s.at.alertmanager, s.at.exporter), s.at.prometheus)
	return s
}

// listen is the webhook.
func (s *stack) listen(t *testing.T) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", s.at.webhook)
	if err != nil {
		t.Fatal(err)
	}
	hook := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		n := notification{at: time.Now(), receiver: strings.TrimPrefix(r.URL.Path, "/")}
		if err := json.NewDecoder(r.Body).Decode(&n); err != nil {
			t.Errorf("webhook: %v", err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.received = append(s.received, n)
	})}
	var serving sync.WaitGroup
	serving.Go(func() { _ = hook.Serve(l) }) // until it is closed
	t.Cleanup(func() {
		_ = hook.Close() // no receiver remains
		serving.Wait()
	})
}

// configure writes the exporter's configuration, and has it read if the exporter runs.
func (s *stack) configure(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(s.configFile, []byte(s.modules+text), 0o600); err != nil {
		t.Fatal(err)
	}
	if s.exporter == nil {
		return
	}
	if err := s.exporter.Process.Signal(unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

// start runs the exporter with these arguments until it is killed, or the test ends.
func (s *stack) start(args ...string) {
	t := s.t
	t.Helper()
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(s.program, append(args, "--web.listen-address="+s.at.exporter)...)
	cmd.Stderr, cmd.SysProcAttr = log, &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it is killed
	}()
	s.exporter, s.ended = cmd, ended
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-ended
		if t.Failed() {
			text, _ := os.ReadFile(s.log)
			t.Logf("exporter:\n%s", text)
		}
	})
}

// kill ends the exporter as a crash does.
func (s *stack) kill(t *testing.T) {
	t.Helper()
	if err := s.exporter.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.ended
}

// notified returns what was sent since a time.
func (s *stack) notified(since time.Time) []notification {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []notification
	for _, n := range s.received {
		if !n.at.Before(since) {
			out = append(out, n)
		}
	}
	return out
}

// await waits for a notification since a time, and logs how long it took.
func (s *stack) await(t *testing.T, since time.Time, within time.Duration, what string, ok func(*notification) bool) notification {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, n := range s.notified(since) {
			if ok(&n) {
				t.Logf("%s after %.1f s, of at most %.1f", what, n.at.Sub(since).Seconds(), within.Seconds())
				return n
			}
		}
		if time.Since(since) > within {
			t.Fatalf("no %s within %v; received: %+v; firing: %q", what, within, s.notified(since), s.firing(t))
		}
		<-tick.C
	}
}

// about matches notifications of a group that has an alert of a status.
func about(name, status string) func(*notification) bool {
	return func(n *notification) bool { return n.GroupLabels["alertname"] == name && len(n.peers(status)) > 0 }
}

// A sample is one element of an instant vector.
type sample struct {
	Metric map[string]string
	Value  [2]any
}

// query asks Prometheus.
func (s *stack) query(t *testing.T, expr string) []sample {
	t.Helper()
	var answer struct {
		Status string
		Error  string
		Data   struct{ Result []sample }
	}
	if err := json.Unmarshal(get(t, "http://"+s.at.prometheus+"/api/v1/query?query="+url.QueryEscape(expr)), &answer); err != nil || answer.Status != "success" {
		t.Fatalf("query %s: %v %s", expr, err, answer.Error)
	}
	return answer.Data.Result
}

// firing are the alerts that fire: name, and the peer it is about or the provider.
func (s *stack) firing(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, v := range s.query(t, `ALERTS{alertstate="firing"}`) {
		out = append(out, alertOf(v.Metric))
	}
	slices.Sort(out)
	return out
}

// alertOf names an alert, and the peer it is about, or the provider.
func alertOf(labels map[string]string) string {
	return strings.TrimSpace(strings.TrimPrefix(labels["alertname"], "IPsecPath") + " " + cmp.Or(labels["peer"], labels["isp"]))
}

// number is the value of the only element of a vector; false if it is empty.
func (s *stack) number(t *testing.T, expr string) (float64, bool) {
	t.Helper()
	all := s.query(t, expr)
	if len(all) == 0 {
		return 0, false
	}
	text, _ := all[0].Value[1].(string)
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || len(all) > 1 {
		t.Fatalf("%s: %v, %v", expr, all, err)
	}
	return v, true
}

// eventually waits until something is so.
func (s *stack) eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(within); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not %s within %v; firing: %q", what, within, s.firing(t))
		}
	}
}

func get(t *testing.T, address string) []byte {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	body, err := io.ReadAll(w.Body)
	if err != nil || w.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v\n%s", address, w.Status, err, body)
	}
	return body
}
