package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/internal/netlab"
)

// manyAtOnce is how many tests run side by side: they wait most of the time.
const manyAtOnce = "32"

// noGateway is what is said besides on a host without a VPN gateway.
const noGateway = "; on a VPN gateway neither is needed: the peers of strongSwan, Libreswan or the kernel are measured, but none was found here"

// TestMain puts the tests into a network of their own: what they measure is there, or nowhere.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", manyAtOnce); err != nil {
		panic(err)
	}
	netlab.Main(m)
}

// TestProgram builds the program and runs it as its users do.
func TestProgram(t *testing.T) {
	netlab.Need(t) // it listens and measures: not in the user's network
	p := program(filepath.Join(t.TempDir(), "ipsec_path_exporter"))
	build := exec.CommandContext(t.Context(), "go", "build", "-o", string(p), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as in the packages
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	t.Run("bad usage", p.badUsage)
	t.Run("port in use", p.portInUse)
	t.Run("config check", p.configCheck)
	t.Run("check loopback", p.checkLoopback)
	t.Run("check a black hole", p.checkBlackHole)
	t.Run("capture", p.capture)
	t.Run("capture from an ASA", p.captureASA)
	t.Run("capture help", p.captureHelp)
	t.Run("check side by side", p.checkSideBySide)
	t.Run("signals", p.signals)
	t.Run("hang-up", p.hangUp)
	t.Run("waiting", p.waiting)
	t.Run("waiting for charon", p.waitingForCharon)
	t.Run("hostile clients", p.hostileClients)
	t.Run("prefix", p.prefix)
	t.Run("TLS and basic auth", p.tls)
	t.Run("sandbox of root", p.sandboxOfRoot)
	t.Run("sandbox of an ordinary user", p.sandboxOfUser)
	t.Run("sandboxed whack", p.sandboxedWhack)
	t.Run("sandboxed TLS", p.sandboxedTLS)
	t.Run("discovery", p.discovery)
	t.Run("unprivileged check", p.unprivilegedCheck)
	t.Run("unprivileged serve", p.unprivilegedServe)
}

// A program is the path of the built program.
type program string

// A result is what a program printed, and how it ended.
type result struct {
	Stdout, Stderr string
	Code           int
}

// patience is how long a program may run that is expected to end by itself.
const patience = 90 * time.Second

// run runs the program to its end, in the network of the tests. from prepares the thread that it
// starts from.
func (p program) run(t *testing.T, from func(start func() error) error, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, string(p), args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := from(cmd.Start); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// here starts a program in the network of the tests.
func here(start func() error) error { return start() }

// A page is what a running program has printed until now.
type page struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (p *page) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *page) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// A process is the program while it runs.
type process struct {
	cmd    *exec.Cmd
	log    *page
	ended  chan struct{}
	listen string
}

// start runs the program until the test ends, and waits until it listens.
func (p program) start(t *testing.T, from func(start func() error) error, args ...string) *process {
	t.Helper()
	s := &process{cmd: exec.Command(string(p), append(args, "--web.listen-address=127.0.0.1:0")...), log: &page{}, ended: make(chan struct{})}
	s.cmd.Stderr = s.log
	if err := from(s.cmd.Start); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.ended)
		_ = s.cmd.Wait() // how it ended is in the process state
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill() // it may have ended
		<-s.ended
	})
	listening := regexp.MustCompile(`msg="Listening on" address=(\S+)`)
	s.eventually(t, "it listens", func() bool {
		if found := listening.FindStringSubmatch(s.log.String()); found != nil {
			s.listen = found[1]
		}
		return s.listen != ""
	})
	return s
}

// eventually waits until a condition holds.
func (s *process) eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for tick := time.NewTicker(20 * time.Millisecond); !holds(); <-tick.C {
		select {
		case <-s.ended:
			t.Fatalf("%s: the program has ended:\n%s", what, s.log)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v:\n%s", what, patience, s.log)
		}
	}
}

// end sends a signal and returns the exit code.
func (s *process) end(t *testing.T, sig syscall.Signal) int {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.ended:
	case <-time.After(patience):
		t.Fatalf("%v does not end it:\n%s", sig, s.log)
	}
	return s.cmd.ProcessState.ExitCode()
}

// file writes a file of a test and returns its path.
func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "config.yml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// Whatever is wrong is said in one line for each problem, with its place. Nothing is measured, and
// no log comes before.
func (p program) badUsage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := file(t, "peers: [{name: hq, address: 203.0.113.10}]\n")
	unknownKey := file(t, "peers:\n- address: 203.0.113.10\n  interval: {icmp: 1s}\n")
	twice := file(t, "peers:\n- {name: hq, address: 203.0.113.10}\n- {name: hq, address: 203.0.113.11}\n")
	badAddress := file(t, "peers:\n- {name: hq, address: 203.0.113.300}\n")
	noPeers := file(t, "limits: {searches: 3}\n")
	several := file(t, "peers:\n- {name: hq, address: a b}\nlimits: {searches: 0}\n")
	badWeb := file(t, "tls_server_config: {cert_file: /nonexistent/cert.pem, key_file: /nonexistent/key.pem}\n")
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"--bogus", exitUnable, "unknown long flag '--bogus' (try --help)"},
		{"measure 203.0.113.10", exitUnable, "unexpected measure (try --help)"},
		{"203.0.113.10 --output json", exitUnable, `unexpected 203.0.113.10; did you mean "ipsec_path_exporter check 203.0.113.10 --output json"? (try --help)`},
		{"vpn.example.net", exitUnable, `unexpected vpn.example.net; did you mean "ipsec_path_exporter check vpn.example.net"? (try --help)`},
		{"chekc 203.0.113.10", exitUnable, `unexpected chekc; did you mean "ipsec_path_exporter check 203.0.113.10"? (try --help)`},
		{"check --ouptut=json 203.0.113.10", exitUnable, "unknown long flag '--ouptut'; did you mean --output? (try --help)"},
		{"--web.listen-address 0.0.0.0:10500 --evidence.bytes=3", exitUnable, "--evidence.bytes=3: must be 0, or a size from 1MiB to 1TiB (try --help)"},
		{"--no-histogram.nativ", exitUnable, "unknown long flag '--no-histogram.nativ'; did you mean --no-histogram.native? (try --help)"},
		{"--peer=203.0.113.300", exitFault, `--peer=203.0.113.300: address: "203.0.113.300" is not a valid IPv4 address`},
		{
			"--peer=hq=a.example --peer=hq=b.example", exitFault,
			`--peer=hq=b.example: name: "hq" is already the name of --peer=hq=a.example`,
		},
		{
			"--config.file=" + unknownKey, exitFault,
			unknownKey + `:3: peers[0] ("203.0.113.10"): unknown key "interval": did you mean "intervals"?`,
		},
		{"--config.file=" + twice, exitFault, twice + `:3: peers[1] ("hq"): name: "hq" is already the name of peers[0] (` + twice + `:2)`},
		{"--config.file=" + badAddress, exitFault, badAddress + `:2: peers[0] ("hq"): address: "203.0.113.300" is not a valid IPv4 address`},
		{"gateway", exitUnable, "no gateways: give a file that has some with --config.file" + noGateway},
		{"gateway --config.file=" + good, exitUnable, "no gateways in " + good},
		{
			"check --config.file=" + noPeers, exitUnable,
			noPeers + ": no peers: write for example `peers: [{address: 203.0.113.10}]`, or give --peer=203.0.113.10" + noGateway,
		},
		{
			"--config.file=" + several, exitFault,
			several + `:2: peers[0] ("hq"): address: "a b" is not a host name or IP address` + "\n" +
				several + `:3: limits.searches: "0" is not a whole number from 1 to 10000`,
		},
		{"--config.file=" + dir + "/none.yml", exitFault, "cannot read the configuration: open " + dir + "/none.yml: no such file or directory"},
		{"--config.file=" + dir, exitFault, "cannot read the configuration: read " + dir + ": is a directory"},
		{"--evidence.bytes=banana", exitUnable, "--evidence.bytes=banana: must be 0, or a size from 1MiB to 1TiB (try --help)"},
		{"--evidence.bytes=12", exitUnable, "--evidence.bytes=12: must be 0, or a size from 1MiB to 1TiB (try --help)"},
		{"--evidence.bytes=-64MiB", exitUnable, "--evidence.bytes=-64MiB: must be 0, or a size from 1MiB to 1TiB (try --help)"},
		{"--evidence.bytes=64Mb", exitUnable, "--evidence.bytes=64Mb: must be 0, or a size from 1MiB to 1TiB (try --help)"},
		{"--peer=203.0.113.10 --web.external-url=http://[", exitFault, `--web.external-url: parse "http://[": missing ']' in host`},
		{"--peer=203.0.113.10 --total-shards=0", exitFault, "--total-shards=0: must be a whole number from 1 to 1000"},
		{"--peer=203.0.113.10 --total-shards=4", exitFault, "--shard: missing: --total-shards=4 needs --shard=0 to 3, or auto"},
		{
			"--peer=203.0.113.10 --total-shards=4 --shard=4", exitFault,
			"--shard=4: not one of the shards of --total-shards=4: must be 0 to 3",
		},
		{"--peer=203.0.113.10 --web.probe-timeout-offset=-1s", exitFault, "--web.probe-timeout-offset=-1s: must not be negative"},
		{"--peer=203.0.113.10 --web.config.file=" + dir + "/none.yml", exitFault, "--web.config.file: open " + dir + "/none.yml: no such file or directory"},
		{
			"--peer=203.0.113.10 --web.config.file=" + badWeb, exitFault,
			"--web.config.file: failed to read cert_file (/nonexistent/cert.pem): open /nonexistent/cert.pem: no such file or directory",
		},
		{"check", exitUnable, "nothing to check: give an address, or --config.file" + noGateway},
		{"check 203.0.113.300", exitUnable, `"203.0.113.300": address: "203.0.113.300" is not a valid IPv4 address`},
		{"check --output=xml 203.0.113.10", exitUnable, "--output=xml: must be one of: html, json, markdown, text"},
		{"check --via=nonesuch0 203.0.113.10", exitUnable, "--via=nonesuch0: neither an interface of this host nor an IP address"},
		{"check --via=127.0.0.1 2001:db8::1", exitUnable, `--via=127.0.0.1: peer "2001:db8::1" is not of this address family`},
		{"check -4 2001:db8::1", exitUnable, `--family=ip4: peer 2001:db8::1: "2001:db8::1" is not of family ip4`},
		{"check -6 203.0.113.10", exitUnable, `--family=ip6: peer 203.0.113.10: "203.0.113.10" is not of family ip6`},
		{"check --family=ipv4 203.0.113.10", exitUnable, "--family=ipv4: must be one of: any, ip4, ip6, both"},
		{"check --timeout=1ms 203.0.113.10", exitUnable, "--timeout=1ms: must be at least 1s"},
		{"check --config.file=" + twice, exitUnable, twice + `:3: peers[1] ("hq"): name: "hq" is already the name of peers[0] (` + twice + `:2)`},
		{"check --config.file=" + good + " hq lab", exitUnable, good + ` has no peer named "lab"`},
	} {
		want := result{"", "ipsec_path_exporter: error: " + tt.want + "\n", tt.code}
		if diff := cmp.Diff(want, p.run(t, here, strings.Fields(tt.args)...)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.args, diff)
		}
	}
}

func (p program) portInUse(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr := l.Addr().String()
	got := p.run(t, here, "--peer=127.0.0.1", "--web.listen-address="+addr)
	lines := strings.Split(strings.TrimSpace(got.Stderr), "\n")
	want := "ipsec_path_exporter: error: listen tcp " + addr + ": bind: address already in use"
	if last := lines[len(lines)-1]; last != want || got.Code != exitFault {
		t.Errorf("got %d and %q, want %q", got.Code, last, want)
	}
}

func (p program) configCheck(t *testing.T) {
	t.Parallel()
	good := file(t, "modules: {default: {intervals: {icmp: 1s}}}\npeers: [{address: 203.0.113.10}, {name: hq, address: vpn.example.net}]\n")
	bad := file(t, "peers:\n- {address: 203.0.113.300}\n- {name: a/b, address: 203.0.113.1}\n")
	tight := file(t, "peers: [{address: 203.0.113.10}]\nmodules: {default: {intervals: {icmp: 100ms}}}\nlimits: {packets_per_second: 5}\n")
	sharded := file(t, "peers: [{name: a, address: 203.0.113.1}, {name: b, address: 203.0.113.2}, {name: c, address: 203.0.113.3}]\n")
	withFiles := file(t, "peers: [{address: 203.0.113.10}]\npeer_files: ['*.yaml', '*.json']\n")
	other := filepath.Join(filepath.Dir(withFiles), "a.yaml")
	if err := os.WriteFile(other, []byte("- targets: [203.0.113.10, 203.0.113.300]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	oneFile := file(t, "peers: [{address: 203.0.113.10}]\npeer_files: ['*.yaml', '*.json']\n")
	if err := os.WriteFile(filepath.Join(filepath.Dir(oneFile), "a.yaml"), []byte("- targets: [203.0.113.11]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		file string
		want result
	}{
		{withFiles, result{"", other + `:1: [0].targets[1] ("203.0.113.300"): address: "203.0.113.300" is not a valid IPv4 address` + "\n", exitFault}},
		{oneFile, result{
			"peers: 2; 0.7 packets/s and 309 bytes/s while all paths are healthy (limits: 2000 packets/s, 2000000 bytes/s)\n" +
				"warning: peer_files: no file matches " + filepath.Join(filepath.Dir(oneFile), "*.json") + "\n", "", exitOK,
		}},
		{sharded + " --shard=0 --total-shards=3", result{
			"shard 0 of 3: 1 of 3 peers\npeers: 1; 0.3 packets/s and 155 bytes/s while all paths are healthy (limits: 2000 packets/s, 2000000 bytes/s)\n", "", exitOK,
		}},
		{good, result{"peers: 2; 2.3 packets/s and 476 bytes/s while all paths are healthy (limits: 2000 packets/s, 2000000 bytes/s)\n", "", exitOK}},
		{bad, result{
			"",
			bad + `:2: peers[0] ("203.0.113.300"): address: "203.0.113.300" is not a valid IPv4 address` + "\n" +
				bad + `:3: peers[1] ("a/b"): name: "a/b" cannot be part of a URL` + "\n", exitFault,
		}},
		{tight, result{
			"peers: 1; 10.1 packets/s and 1174 bytes/s while all paths are healthy (limits: 5 packets/s, 2000000 bytes/s)\n" +
				"warning: limits.packets_per_second: 5 is below the 11 that the configuration needs: intervals will be 2.0 times as long\n", "", exitOK,
		}},
	} {
		// A configuration is checked where it is written, which need not be where it is measured
		// from.
		if diff := cmp.Diff(tt.want, p.run(t, without(capNetRaw, capNetAdmin), append([]string{"--config.check"}, strings.Fields("--config.file="+tt.file)...)...)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.file, diff)
		}
	}
}

func (p program) signals(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		s := p.start(t, here, "--peer=127.0.0.1")
		if code := s.end(t, sig); code != exitOK {
			t.Errorf("%v: exit code %d\n%s", sig, code, s.log)
		}
		if text := s.log.String(); !strings.Contains(text, `msg="stopped ipsec_path_exporter"`) || strings.Contains(text, "level=ERROR") {
			t.Errorf("%v: log:\n%s", sig, text)
		}
	}
}

// A hang-up reads the file again. A broken one is said and changes nothing; a good one is taken.
func (p program) hangUp(t *testing.T) {
	t.Parallel()
	name := file(t, "peers: [{name: hq, address: 127.0.0.1}]\n")
	s := p.start(t, here, "--config.file="+name)
	hangUp := func(text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	hangUp("peers: [{name: hq, address: 127.0.0.1}, {name: branch, address: 203.0.113.300}]\n")
	want := `msg="reload failed; keeping the current configuration" err="` + name + `:1: peers[1] (\"branch\"): address: \"203.0.113.300\" is not a valid IPv4 address"`
	s.eventually(t, "the complaint", func() bool { return strings.Contains(s.log.String(), want) })
	page := s.get(t, "/metrics")
	for _, want := range []string{"ipsec_path_config_last_reload_successful 0\n", `ipsec_path_icmp_requests_total{peer="hq"}`} {
		if !strings.Contains(page, want) {
			t.Errorf("after a bad reload, no %s", want)
		}
	}
	hangUp("peers: [{name: lab, address: 127.0.0.2}]\n")
	s.eventually(t, "the new peer", func() bool {
		page := s.get(t, "/metrics")
		return strings.Contains(page, `peer="lab"`) && !strings.Contains(page, `peer="hq"`) && strings.Contains(page, "last_reload_successful 1\n")
	})
	if code := s.end(t, syscall.SIGTERM); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

func (p program) prefix(t *testing.T) {
	t.Parallel()
	s := p.start(t, here, "--peer=hq=127.0.0.1", "--web.external-url=https://monitor.example/ipsec/", "--web.telemetry-path=/telemetry")
	for path, want := range map[string]string{
		"/ipsec/telemetry": `ipsec_path_peer_info{address="127.0.0.1",family="ip4",peer="hq",source=""} 1`,
		"/ipsec/-/healthy": "healthy", "/ipsec/-/ready": "ready", "/ipsec/": `href="/ipsec/telemetry"`, "/": `href="/ipsec/telemetry"`,
	} {
		if body := s.get(t, path); !strings.Contains(body, want) {
			t.Errorf("GET %s lacks %s:\n%s", path, want, body)
		}
	}
	for _, args := range [][]string{
		{"--peer=127.0.0.1", "--web.telemetry-path=/-/healthy"},
		{"--peer=127.0.0.1", "--web.route-prefix=/{x}"},
	} {
		got := p.run(t, here, args...)
		want := "ipsec_path_exporter: error: not a possible path: " + args[1]
		if got.Code != exitFault || !strings.Contains(got.Stderr, want) {
			t.Errorf("%q: %d\n%s", args, got.Code, got.Stderr)
		}
	}
}
