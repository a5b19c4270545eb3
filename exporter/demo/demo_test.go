package demo

import (
	"encoding/json"
	"html"
	"maps"
	"net"
	"net/http"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/exportertest"
)

// patience is how long all peers may take to be known.
const patience = 90 * time.Second

// TestDemo runs the built program as an ordinary user does, on the host of the tests: in loopback's
// ports, and in no namespace but its own.
func TestDemo(t *testing.T) {
	// Of what is caught here the program gets the default, of what is ignored, as under nohup, it
	// would not.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGHUP)
	t.Cleanup(func() { signal.Stop(signals) })
	p := build(t)
	t.Run("peers", func(t *testing.T) {
		t.Parallel()
		r := p.start(t, "")
		r.awaitDiagnoses(t)
		r.pages(t)
		if now := links(t); !slices.Equal(now, r.links) {
			t.Errorf("while it runs, the host's network devices are %q, before %q", now, r.links)
		}
		for began := time.Now(); !strings.Contains(r.out.String(), " peers diagnosed as expected"); time.Sleep(10 * time.Millisecond) {
			if time.Since(began) > 10*time.Second {
				t.Fatalf("the result is missing:\n%s", r.out)
			}
		}
		for line := range strings.Lines(r.out.String()) {
			if utf8.RuneCountInString(line) > 80+len("\n") {
				t.Errorf("wider than 80 columns: %s", line)
			}
		}
		r.stop(t, unix.SIGINT, 0)
		if want := "has ended; its namespaces are removed"; !strings.Contains(r.out.String(), want) {
			t.Errorf("no %q in:\n%s", want, r.out)
		}
	})
	for _, tt := range []struct {
		name   string
		signal unix.Signal
		code   int
	}{{"SIGTERM", unix.SIGTERM, 0}, {"SIGHUP", unix.SIGHUP, -1}, {"SIGKILL", unix.SIGKILL, -1}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p.start(t, "").stop(t, tt.signal, tt.code)
		})
	}
	t.Run("go run is killed", func(t *testing.T) {
		t.Parallel()
		p.start(t, "go").stop(t, unix.SIGKILL, -1)
	})
	t.Run("port in use", p.portInUse)
	t.Run("no namespaces", p.noNamespaces)
}

// stop ends the demonstration by a signal to the process that was started, and looks what is left.
func (r *run) stop(t *testing.T, signal unix.Signal, code int) {
	t.Helper()
	if err := r.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	r.leavesNothing(t)
	<-r.ended // no process of it is left
	if got := r.cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("it ended with code %d, want %d\n%s", got, code, r.log)
	}
}

// A series of the metrics page whose value is 1, and its labels.
var (
	series = regexp.MustCompile(`(?m)^(ipsec_path_diagnosis|ipsec_path_peer_healthy)\{(.*)\} 1$`)
	label  = regexp.MustCompile(`([a-z]+)="([^"]*)"`)
)

// soon are the expected diagnoses that do not take minutes.
func (p *peer) soon() []string {
	return slices.DeleteFunc(slices.Clone(p.diagnoses), func(d string) bool { return d == diagnosis.NegotiationStuck })
}

// awaitDiagnoses waits until each peer has exactly its diagnoses, apart from the ones that take
// minutes (TestEveryFaultHasItsAlert of package alerts waits for them). Until then none may have one
// that it must not have.
func (r *run) awaitDiagnoses(t *testing.T) {
	t.Helper()
	began := time.Now()
	want, slow := make(map[string][]string), make(map[string]string)
	for _, p := range peers() {
		if p.slow() {
			slow[p.name] = diagnosis.NegotiationStuck
		}
		want[p.name] = append([]string{"", p.site, p.isp}, p.soon()...) // "" stands for a faulty peer
		if len(p.diagnoses) == 0 {
			want[p.name][0] = "healthy"
		}
	}
	for {
		got := make(map[string][]string)
		for _, m := range series.FindAllStringSubmatch(r.get(t, metricsPath), -1) {
			labels := make(map[string]string)
			for _, l := range label.FindAllStringSubmatch(m[2], -1) {
				labels[l[1]] = l[2]
			}
			peer := labels["peer"]
			if got[peer] == nil {
				got[peer] = []string{"", labels["site"], labels["isp"]}
			}
			if m[1] == healthyMetric {
				got[peer][0] = "healthy"
				continue
			}
			if slow[peer] == labels["diagnosis"] {
				continue // on a slow machine it is there already
			}
			got[peer] = append(got[peer], labels["diagnosis"])
			if !slices.Contains(want[peer], labels["diagnosis"]) {
				t.Fatalf("%s has %s after %v, want %v", peer, labels["diagnosis"], time.Since(began), want[peer])
			}
		}
		for _, all := range got {
			slices.Sort(all[3:])
		}
		if cmp.Equal(want, got) {
			t.Logf("all %d peers are right after %v", len(want), time.Since(began))
			return
		}
		if time.Since(began) > patience {
			t.Fatalf("after %v (-want +got):\n%s\n%s", patience, cmp.Diff(want, got), r.out)
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// pages opens what the demonstration says can be opened, of every peer.
func (r *run) pages(t *testing.T) {
	t.Helper()
	if out := r.out.String(); !strings.Contains(out, "  "+r.base+"/\n") || !strings.Contains(out, `"`+strings.TrimPrefix(r.base, "http://")+`"`) {
		t.Errorf("it does not say where it is:\n%s", out)
	}
	status := r.get(t, "/")
	for _, p := range peers() {
		if !strings.Contains(status, p.name) || !strings.Contains(r.out.String(), p.name) {
			t.Errorf("%s is not on the status page, or not in the table", p.name)
		}
		for path, want := range map[string]string{"": p.name, "/report": p.name, "/report?format=json": `"peer":`, "/pcap": "\x0a\x0d\x0d\x0a"} {
			if body := r.get(t, "/peers/"+p.name+path); !strings.Contains(body, want) {
				t.Errorf("/peers/%s%s has no %q:\n%.300s", p.name, path, want, body)
			}
		}
		r.firstScreen(t, status, &p)
		r.tenSeconds(t, &p)
	}
	if body := r.ask(t, http.MethodPost, "/-/reload"); !strings.Contains(r.get(t, metricsPath), "\nipsec_path_config_last_reload_successful 1\n") {
		t.Errorf("a reload fails: %s", body)
	}
	if passes := `ipsec_path_protocol_state{isp="globex",peer="healthy",protocol="ah",site="bergen",state="passes"} 1`; !strings.Contains(r.get(t, metricsPath), passes) {
		t.Errorf("no %s", passes)
	}
}

// firstScreen checks that the list, and the page of a peer before its drawings, say what is wrong
// in the words of the report, since when, on which provider, and what to do, with a number.
func (r *run) firstScreen(t *testing.T, list string, p *peer) {
	t.Helper()
	var reports []struct {
		Diagnoses []struct{ Severity, Summary string }
	}
	if err := json.Unmarshal([]byte(r.get(t, "/peers/"+p.name+"/report?format=json")), &reports); err != nil || len(reports) != 1 {
		t.Fatalf("report of %s: %v", p.name, err)
	}
	_, row, _ := strings.Cut(list, `href="peers/`+p.name+`"`)
	row, _, _ = strings.Cut(row, "</tr>")
	top, _, _ := strings.Cut(r.get(t, "/peers/"+p.name), "<h2>")
	for _, d := range reports[0].Diagnoses {
		since := regexp.MustCompile(`Since \d{4}-\d\d-\d\d \d\d:\d\d UTC \(\d+ (s|min)\)`)
		if text := html.UnescapeString(top); !strings.Contains(text, d.Severity+"</span>: "+d.Summary) || !since.MatchString(text) ||
			!regexp.MustCompile(`(?s)Do now.*<ol><li>[^<]*\d`).MatchString(text) || !strings.Contains(text, "provider "+p.isp) {
			t.Errorf("the first screen of %s:\n%s", p.name, top)
		}
		if !since.MatchString(row) || !regexp.MustCompile(`Do now: [^<]*\d`).MatchString(row) || !strings.Contains(row, p.isp) {
			t.Errorf("the row of %s:\n%s", p.name, row)
		}
	}
	if len(reports[0].Diagnoses) == 0 && !strings.Contains(row, `<strong class="healthy">healthy`) {
		t.Errorf("the row of %s:\n%s", p.name, row)
	}
}

// actions are what the reports request for the diagnoses of the demo, with its number.
var actions = map[string]string{
	diagnosis.ICMPBlocked: "Permit ICMP type 3 code 4", diagnosis.FragmentsDropped: "Permit IP fragments of UDP 500/4500",
	diagnosis.ESPBlocked: "Permit IP protocol 50 (ESP)", diagnosis.UDP4500Blocked: "Permit UDP port 4500",
	diagnosis.PeerSilent: "UDP port 500 and UDP port 4500 get no answer", diagnosis.PMTUBlackHole: "Permit ICMP type 3 code 4",
	diagnosis.PMTUBlackHoleReverse: "Permit ICMP type 3 code 4 (fragmentation needed) towards",
	diagnosis.TunnelOversized:      "Set the tunnel's MTU to 1326 and TCP MSS to 1286",
}

// action is the request of the report about a diagnosis of the peer, with its number.
func (p *peer) action(name string) string {
	if p.ipv6 {
		return strings.NewReplacer("ICMP type 3 code 4 (fragmentation needed)", "ICMPv6 type 2 (packet too big)", "ICMP type 3 code 4", "ICMPv6 type 2").Replace(actions[name])
	}
	return actions[name]
}

// tenSeconds reads the first screen of a peer's report, as text and as a page: it names each
// diagnosis, in words, since when it holds, and the action with its number.
func (r *run) tenSeconds(t *testing.T, p *peer) {
	t.Helper()
	path := "/peers/" + p.name + "/report"
	for format, lines := range map[string][]string{
		"text": strings.Split(r.get(t, path), "\n"),
		"html": exportertest.Lines(t, r.get(t, path+"?format=html")),
	} {
		first := strings.Join(strings.Fields(strings.Join(lines[:min(len(lines), exportertest.FirstScreen)], "\n")), " ")
		for _, d := range p.soon() {
			summary := regexp.MustCompile(`[A-Z][^` + "`" + `]{20,} Since (at least )?20\d\d-\S+Z \(` + "`?" + d + "`?[,)]")
			if action := p.action(d); !summary.MatchString(first) || action == "" || !strings.Contains(first, action) {
				t.Errorf("the report of %s as %s does not begin with %s, since when, and %q:\n%s", p.name, format, d, action, first)
			}
		}
		if !strings.Contains(first, p.name) {
			t.Errorf("the report of %s as %s:\n%s", p.name, format, first)
		}
	}
}

// A port that is taken is found before anything is built.
func (p program) portInUse(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := p.command(t, "", "demo", "--web.listen-address=localhost:"+port(t), "--web.listen-address="+l.Addr().String())
	want := "ipsec_path_exporter: error: listen tcp " + l.Addr().String() + ": bind: address already in use (use --web.listen-address)\n"
	if code := r.end(t); code != 1 || r.log.String() != want || r.out.String() != "" {
		t.Errorf("exit code %d\n%s\n%s", code, r.log, r.out)
	}
}

// Where no namespaces are to be had it says so, and what can be done.
func (p program) noNamespaces(t *testing.T) {
	t.Parallel()
	for user, want := range map[int]string{0: "even to root", ordinary: "sudo ./ipsec_path_exporter demo"} {
		t.Run(want, func(t *testing.T) {
			r := p.command(t, "forbidden", "demo", "--web.listen-address=localhost:"+port(t))
			r.cmd.SysProcAttr = &syscall.SysProcAttr{
				Cloneflags:  unix.CLONE_NEWUSER,
				UidMappings: []syscall.SysProcIDMap{{ContainerID: user, HostID: os.Getuid(), Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{ContainerID: user, HostID: os.Getgid(), Size: 1}},
				AmbientCaps: []uintptr{unix.CAP_SYS_RESOURCE},
			}
			if code := r.end(t); code != 1 || !strings.Contains(r.log.String(), want) || !strings.Contains(r.log.String(), "no space left on device") || r.out.String() != "" {
				t.Errorf("exit code %d\n%s\n%s", code, r.log, r.out)
			}
		})
	}
}

// Names, labels and providers are distinct where they must be, and what is promised has a name.
func TestPeersAreDistinct(t *testing.T) {
	names, sites, isps := make(map[string]bool), make(map[string]bool), make(map[string]int)
	for _, p := range peers() {
		names[p.name], sites[p.site] = true, true
		if len(p.path) > pathColumns {
			t.Errorf("%s: %q is wider than %d columns", p.name, p.path, pathColumns)
		}
		isps[p.isp]++
	}
	if n := len(peers()); len(names) != n || len(sites) != n || firstBlock+n > 77 {
		t.Errorf("%d peers, %d names, %d sites", n, len(names), len(sites))
	}
	if len(isps) != 3 || isps["acme"] < 3 {
		t.Errorf("providers %v", maps.Clone(isps))
	}
}
