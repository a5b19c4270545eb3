package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/responder"
	"ipsec_path_exporter/internal/schematest"
)

// get fetches a page of the program.
func (s *process) get(t *testing.T, path string) string {
	t.Helper()
	code, body := fetch(t, http.DefaultClient, "http://"+s.listen+path, "", "")
	if code != http.StatusOK {
		t.Fatalf("GET %s: %d %s", path, code, body)
	}
	return body
}

func fetch(t *testing.T, c *http.Client, url, user, password string) (code int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		r.SetBasicAuth(user, password)
	}
	w, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	b, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.StatusCode, string(b)
}

// The capabilities that the program may lack.
const (
	capNetRaw   = unix.CAP_NET_RAW
	capNetAdmin = unix.CAP_NET_ADMIN
)

// without starts a program that can have none of these capabilities, as an ordinary user's cannot.
func without(caps ...uintptr) func(start func() error) error {
	return func(start func() error) error {
		done := make(chan error, 1)
		go func() {
			runtime.LockOSThread() // never unlocked: the thread is spoilt, and ends with the goroutine
			for _, c := range caps {
				if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
					done <- err
					return
				}
			}
			done <- start()
		}()
		return <-done
	}
}

// A lab is a provider with a gateway behind it; the program runs at the client's place.
type lab struct{ *netlab.Provider }

func newLab(t *testing.T) lab {
	t.Helper()
	l := lab{netlab.NewProvider(t)}
	l.Server.Do(t, func() {
		if _, err := responder.Start(t.Context(), responder.Config{}); err != nil {
			t.Fatal(err)
		}
	})
	return l
}

// privileged starts a program at the client's place, as root would.
func (l lab) privileged(start func() error) error { return l.Client.Run(start) }

// ordinary starts a program at the client's place, as an ordinary user would.
func (l lab) ordinary(start func() error) error {
	return l.Client.Run(func() error {
		for _, c := range []uintptr{capNetRaw, capNetAdmin} {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
				return err
			}
		}
		return start()
	})
}

// http returns what fetches pages at the client's place.
func (l lab) http(t *testing.T) *http.Client {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
		err = l.Client.Run(func() error {
			c, err = (&net.Dialer{}).DialContext(ctx, network, addr)
			return err
		})
		return c, err
	}}}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// summary is a report in short: states and sizes.
type summary struct {
	Healthy   bool
	Diagnoses []string
	ICMP      string
	MTU       map[string]string
	IKE       map[string]string
}

// summarize reads the JSON report of one peer.
func summarize(t *testing.T, report string) summary {
	t.Helper()
	var all []struct {
		Healthy   bool
		Diagnoses []struct{ Name string }
		ICMP      struct{ State string }
		MTU       []struct {
			Method, State string
			Bytes         json.Number
		}
		IKE []struct{ Method, State string }
	}
	if err := json.Unmarshal([]byte(report), &all); err != nil || len(all) != 1 {
		t.Fatalf("%v in:\n%s", err, report)
	}
	schematest.Open("check").Check(t, "report", []byte(report))
	s := summary{Healthy: all[0].Healthy, ICMP: all[0].ICMP.State, MTU: map[string]string{}, IKE: map[string]string{}}
	for _, d := range all[0].Diagnoses {
		s.Diagnoses = append(s.Diagnoses, d.Name)
	}
	for _, m := range all[0].MTU {
		s.MTU[m.Method] = m.State + " " + m.Bytes.String()
	}
	for _, i := range all[0].IKE {
		s.IKE[i.Method] = i.State
	}
	return s
}

// Nobody speaks IKE here: its ports are refused, and that is a fault of a peer.
func (p program) checkLoopback(t *testing.T) {
	t.Parallel()
	got := p.run(t, here, "check", "--output=json", "127.0.0.1")
	if got.Code != exitFault || got.Stderr != "" {
		t.Errorf("got %d\n%s", got.Code, got.Stderr)
	}
	const loopback = "clean 65535"
	want := summary{
		Diagnoses: []string{"ike_refused"}, ICMP: "reachable",
		MTU: map[string]string{"icmp": loopback, "ike": loopback, "natt": loopback},
		IKE: map[string]string{"ike": "refused", "natt": "refused"},
	}
	if diff := cmp.Diff(want, summarize(t, got.Stdout)); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}

func (p program) checkBlackHole(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Apply(t, "S2")
	got := p.run(t, l.privileged, "check", l.ServerAddr(true).String())
	if want := l.ServerAddr(true).String() + ": FAULT pmtu_black_hole, pmtu_black_hole_reverse\n"; got.Code != exitFault || got.Stderr != "" || !strings.HasPrefix(got.Stdout, want) {
		t.Errorf("got %d\n%s\n%s", got.Code, got.Stderr, got.Stdout)
	}
	if cached := l.Client.CachedMTU(t, l.ServerAddr(true)); cached != netlab.DefaultMTU {
		t.Errorf("the kernel's path MTU cache says %d", cached)
	}
}

// The same box over another provider works, which is the view of a provider.
func (p program) checkSideBySide(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	second := l.AddUplink(t).Interface()
	l.Apply(t, "S6c")
	for _, address := range []string{l.ServerAddr(false).String(), l.ServerAddr(true).String()} {
		got := p.run(t, l.privileged, "check", "--output=markdown", "--via=net1", "--via="+second, "hq="+address)
		if got.Code != exitFault || got.Stderr != "" {
			t.Errorf("got %d\n%s", got.Code, got.Stderr)
		}
		for _, want := range []string{
			"# Path to hq: comparison\n\n## Summary\n\nVia " + second + " all tests pass, via net1 packets above 1400 bytes vanish: the fault is on the path via net1.\n",
			"|  | net1 | " + second + " |\n", "| result | FAULT pmtu_black_hole | no fault found |\n", "| path MTU, ike | 1400 black hole | 1500 clean |\n",
			"\nping", " -I net1 -M do -c 5 -s ", "\n# Path to hq (" + address + ") via " + second + ": no fault found\n",
		} {
			if !strings.Contains(got.Stdout, want) {
				t.Errorf("no %q in:\n%s", want, got.Stdout)
			}
		}
	}
}

// An ordinary user gets echoes where the kernel grants ping sockets, and IKE and the path MTU by it
// everywhere.
func (p program) unprivilegedCheck(t *testing.T) {
	t.Parallel()
	const limits = "note: no raw sockets (CAP_NET_RAW): path MTU is measured by IKE only, through a UDP socket that leaves an entry in this host's path MTU cache; "
	const policies = "note: no exemption from this host's IPsec policies (CAP_NET_ADMIN): peers behind a policy or tunnel of this host stay unknown\n"
	l := newLab(t)
	want := summary{
		Healthy: true, ICMP: "unknown", MTU: map[string]string{"ike": "clean 1500", "natt": "clean 1500"},
		IKE: map[string]string{"ike": "responding", "natt": "responding"},
	}
	for _, step := range []struct{ icmp, note string }{
		{"unknown", "no echoes, because net.ipv4.ping_group_range does not include this process's group\n"},
		{"reachable", "echoes go out on ping sockets\n"},
	} {
		if step.icmp == "reachable" {
			l.AllowPingSockets(t)
		}
		want.ICMP = step.icmp
		got := p.run(t, l.ordinary, "check", "--output=json", l.ServerAddr(false).String())
		if got.Code != exitOK || got.Stderr != limits+step.note+policies {
			t.Errorf("got %d\n%s", got.Code, got.Stderr)
		}
		if diff := cmp.Diff(want, summarize(t, got.Stdout)); diff != "" {
			t.Errorf("report (-want +got):\n%s", diff)
		}
	}
}

// The limits of an ordinary user are said once, and exported.
func (p program) unprivilegedServe(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.AllowPingSockets(t)
	s := p.start(t, l.ordinary, "--peer=hq="+l.ServerAddr(false).String())
	client := l.http(t)
	var page string
	s.eventually(t, "measurements", func() bool {
		_, page = fetch(t, client, "http://"+s.listen+"/metrics", "", "")
		return strings.Contains(page, `ipsec_path_icmp_reachable{peer="hq"} 1`) && strings.Contains(page, `ipsec_path_mtu_bytes{method="natt",peer="hq"} 1500`)
	})
	for _, want := range []string{
		`ipsec_path_capability{name="raw_icmp"} 0`, `ipsec_path_capability{name="raw_ip"} 0`, `ipsec_path_capability{name="ping_socket"} 1`,
		`ipsec_path_capability{name="policy_bypass"} 0`,
	} {
		if !strings.Contains(page, want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	if n := strings.Count(s.log.String(), "no raw sockets"); n != 1 {
		t.Errorf("the limits are said %d times:\n%s", n, s.log)
	}
	if _, body := fetch(t, client, "http://"+s.listen+"/", "", ""); !strings.Contains(body, "echoes go out on ping sockets") {
		t.Errorf("the status page does not name the limits:\n%s", body)
	}
}

// tls: exporter-toolkit serves by TLS to who knows the password.
func (p program) tls(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	roots := certificate(t, dir)
	// "correct horse", at bcrypt's least cost.
	const hash = "$2a$04$aD.yHt2bjYUVsMgnpa1rD.k.Df6yRN4XH5kNs0IFlN2qUz9/w9K/S"
	config := filepath.Join(dir, "web.yml")
	text := "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\nbasic_auth_users: {prometheus: " + hash + "}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := p.start(t, here, "--peer=hq=127.0.0.1", "--web.config.file="+config)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
	defer client.CloseIdleConnections()
	for _, tt := range []struct {
		user, password string
		code           int
	}{
		{"prometheus", "correct horse", http.StatusOK},
		{"prometheus", "battery staple", http.StatusUnauthorized},
		{"", "", http.StatusUnauthorized},
	} {
		code, body := fetch(t, client, "https://"+s.listen+"/metrics", tt.user, tt.password)
		if code != tt.code || strings.Contains(body, "ipsec_path_") != (code == http.StatusOK) {
			t.Errorf("%q with %q: %d\n%s", tt.user, tt.password, code, body)
		}
	}
	if code, body := fetch(t, http.DefaultClient, "http://"+s.listen+"/metrics", "", ""); code != http.StatusBadRequest {
		t.Errorf("without TLS: %d %s", code, body)
	}
	if text := s.log.String(); strings.Contains(text, hash) || strings.Contains(text, "correct horse") {
		t.Errorf("secrets in the log:\n%s", text)
	}
}

// certificate writes cert.pem and key.pem of 127.0.0.1, and returns who trusts it.
func certificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	var cert []byte
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		var b bytes.Buffer
		if err := pem.Encode(&b, block); err != nil {
			t.Fatal(err)
		}
		if name == "cert.pem" {
			cert = b.Bytes()
		}
		if err := os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(cert) {
		t.Fatal("the certificate cannot be read")
	}
	return roots
}
