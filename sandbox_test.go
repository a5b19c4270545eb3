package main

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/daemons"
)

// rights returns the lines of /proc/PID/status about privileges, which must be the same of every
// thread.
func (s *process) rights(t *testing.T) map[string]string {
	t.Helper()
	all, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", s.cmd.Process.Pid))
	if err != nil || len(all) < 2 {
		t.Fatalf("threads: %q, %v", all, err)
	}
	line := regexp.MustCompile(`(?m)^(Cap\w+|NoNewPrivs):\s+(\w+)$`)
	var first map[string]string
	for _, file := range all {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		these := map[string]string{}
		for _, m := range line.FindAllStringSubmatch(string(text), -1) {
			these[m[1]] = m[2]
		}
		if first == nil {
			first = these
		}
		if fmt.Sprint(these) != fmt.Sprint(first) {
			t.Errorf("threads differ: %v, %v", first, these)
		}
	}
	return first
}

func capabilities(all ...int) string {
	set := uint64(0)
	for _, c := range all {
		set |= 1 << c
	}
	return fmt.Sprintf("%016x", set)
}

func (s *process) wantRights(t *testing.T, want map[string]string) {
	t.Helper()
	got := s.rights(t)
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %s, want %s", name, got[name], value)
		}
	}
}

// limitsFiles reports whether the kernel can limit the files of the program. It announces where not.
func (s *process) limitsFiles(t *testing.T) bool {
	t.Helper()
	found := regexp.MustCompile(`landlock=(\d+)`).FindStringSubmatch(s.log.String())
	if found == nil {
		t.Fatalf("the log does not say which rights are left:\n%s", s.log)
	}
	version, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	if version == 0 {
		netlab.Announce("SKIPPED the test of limits on files: the kernel has no Landlock")
	}
	return version > 0
}

// What root starts keeps four capabilities, and everything that a reload may add still works.
func (p program) sandboxOfRoot(t *testing.T) {
	t.Parallel()
	daemons.NeedStrongSwan(t)
	l := newLab(t)
	charon := daemons.StartStrongSwan(t, l.Client, daemons.StrongSwan{Conn: daemons.StrongSwanPeer(2, l.ClientAddr(false), l.ServerAddr(false))})
	dir, outside := filepath.Dir(file(t, "")), filepath.Dir(file(t, "PLANTED\n"))
	write := func(dir, name, text string) string {
		t.Helper()
		at := filepath.Join(dir, name)
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return at
	}
	const modules = "modules: {default: {intervals: {icmp: 1s, ike: 10s, pmtu: 10s}}}\npeer_files: [peers.d/*.json]\n"
	gateways := "gateways:\n- {name: charon, type: strongswan, socket: 'unix://" + charon.Socket() + "'}\n- {name: kernel, type: xfrm}\n"
	hq := "peers:\n- {name: hq, address: " + l.ServerAddr(false).String() + "}\n"
	name := write(dir, "config.yml", modules+gateways+hq)
	if err := os.Mkdir(filepath.Join(dir, "history"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := p.start(t, l.privileged, "--config.file="+name, "--storage.path="+filepath.Join(dir, "history"), "--log.level=debug")
	kept := capabilities(unix.CAP_NET_RAW, unix.CAP_NET_ADMIN, unix.CAP_NET_BIND_SERVICE, unix.CAP_DAC_OVERRIDE)
	s.wantRights(t, map[string]string{"CapPrm": kept, "CapEff": kept, "CapBnd": kept, "CapInh": capabilities(), "CapAmb": capabilities(), "NoNewPrivs": "1"})
	client := l.http(t)
	shows := func(what string, series ...string) {
		t.Helper()
		s.eventually(t, what, func() bool {
			_, page := fetch(t, client, "http://"+s.listen+"/metrics", "", "")
			for _, want := range series {
				if !strings.Contains(page, want+"\n") {
					return false
				}
			}
			return true
		})
	}
	measured := func(peer string) []string {
		return []string{
			`ipsec_path_icmp_reachable{peer="` + peer + `"} 1`, `ipsec_path_ike_responding{method="ike",peer="` + peer + `"} 1`,
			`ipsec_path_mtu_bytes{method="icmp",peer="` + peer + `"} 1500`, `ipsec_path_mtu_bytes{method="natt",peer="` + peer + `"} 1500`,
		}
	}
	shows("the first peer and the gateways", append(measured("hq"), `ipsec_path_gateway_up{gateway="charon"} 1`, `ipsec_path_gateway_up{gateway="kernel"} 1`)...)

	if err := os.Mkdir(filepath.Join(dir, "peers.d"), 0o700); err != nil { // it was not there at the start
		t.Fatal(err)
	}
	write(dir, "peers.d/a.json", `[{"targets": ["`+l.AddServerAddr(t, 9, false).String()+`"], "labels": {"__peer__": "from a new file"}}]`)
	more := hq + "- {name: v6, address: '" + l.ServerAddr(true).String() + "', interface: net1, fwmark: 0x10, ike: {source_port: fixed}}\n"
	reload := func(text string) {
		t.Helper()
		write(dir, "config.yml", text)
		if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	reload(modules + gateways + more)
	shows("what a reload adds", append(measured("v6"), `ipsec_path_icmp_reachable{peer="from a new file"} 1`)...)

	secret := write(outside, "secret", "PLANTED\n")
	device := func(secret string) string {
		return "- {name: hub, type: cisco_asa, transport: https, address: 127.0.0.1:1, username: u, password_file: " + secret + "}\n"
	}
	reload(modules + gateways + device(write(dir, "hub.password", "PLANTED\n")) + more)
	shows("a gateway whose secret is beside the configuration", `ipsec_path_gateway_up{gateway="hub"} 0`)
	if strings.Contains(s.log.String(), "hub.password") || strings.Contains(s.log.String(), "PLANTED") {
		t.Errorf("a secret that can be read has a problem:\n%s", s.log)
	}
	if _, err := os.Stat(filepath.Join(dir, "history", "history.journal")); err != nil {
		t.Error(err)
	}
	if !s.limitsFiles(t) {
		return
	}
	reload(modules + gateways + device(secret) + more)
	s.eventually(t, "the refusal", func() bool {
		return strings.Contains(s.log.String(), `keeping the current configuration" err="gateways (\"hub\"): password_file: `+secret+` is outside of what the program may use since its start`)
	})
	if err := os.Symlink(write(outside, "b.json", "[]"), filepath.Join(dir, "peers.d", "b.json")); err != nil {
		t.Fatal(err)
	}
	s.eventually(t, "the kernel's refusal", func() bool { // root, with CAP_DAC_OVERRIDE
		return strings.Contains(s.log.String(), filepath.Join(dir, "peers.d", "b.json")+": permission denied")
	})
	shows("what runs", measured("hq")...)
}

// The control program of Libreswan can be run, also one that is a script, and no other program.
func (p program) sandboxedWhack(t *testing.T) {
	t.Parallel()
	daemons.NeedLibreswan(t)
	l := newLab(t)
	pluto := daemons.StartLibreswan(t, l.Client, daemons.Libreswan{Conn: daemons.LibreswanPeer(2, l.ClientAddr(false), l.ServerAddr(false))})
	whack := filepath.Join(os.Getenv("LIBRESWAN_ROOT"), "/usr/libexec/ipsec/whack")
	script := filepath.Join(t.TempDir(), "whack.sh")
	if err := os.WriteFile(script, []byte("#!/bin/sh\ncat /dev/null; exec "+whack+" \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	gateway := func(name, program string) string {
		return "- {name: " + name + ", type: libreswan, interval: 1s, socket: " + pluto.Socket() + ", program: " + program + "}\n"
	}
	text := "peers: [{address: " + l.ServerAddr(false).String() + "}]\ngateways:\n" + gateway("program", whack) + gateway("script", script)
	name := file(t, text)
	s := p.start(t, l.privileged, "--config.file="+name, "--log.level=debug")
	client := l.http(t)
	s.eventually(t, "both are read", func() bool {
		_, page := fetch(t, client, "http://"+s.listen+"/metrics", "", "")
		return strings.Contains(page, `ipsec_path_gateway_up{gateway="program"} 1`) && strings.Contains(page, `ipsec_path_gateway_up{gateway="script"} 1`)
	})
	if !s.limitsFiles(t) {
		return
	}
	other := filepath.Join(t.TempDir(), "whack.sh")
	if err := os.WriteFile(name, []byte(text+gateway("other", other)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.eventually(t, "the refusal", func() bool {
		return strings.Contains(s.log.String(), `gateways (\"other\"): program: `+other+` is outside of what the program may use`)
	})
}

// What an ordinary user starts has the capabilities of its file, and keeps those.
func (p program) sandboxOfUser(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	text, err := os.ReadFile(string(p))
	if err != nil {
		t.Fatal(err)
	}
	own := program(filepath.Join(t.TempDir(), "exporter"))
	if err := os.WriteFile(string(own), text, 0o755); err != nil {
		t.Fatal(err)
	}
	// struct vfs_cap_data of version 2, with the effective flag: cap_net_raw,cap_kill+ep.
	data := []byte{1, 0, 0, 2, 1 << unix.CAP_KILL, 1 << (unix.CAP_NET_RAW - 8), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	if err := unix.Setxattr(string(own), "security.capability", data, 0); err != nil {
		t.Fatal(err)
	}
	user := func(start func() error) error { // whom exec gives no capabilities for the user ID
		return l.Client.Run(func() error {
			const noRoot = 1 // SECBIT_NOROOT
			if err := unix.Prctl(unix.PR_SET_SECUREBITS, noRoot, 0, 0, 0); err != nil {
				return err
			}
			return start()
		})
	}
	hq := "--peer=hq=" + l.ServerAddr(false).String()
	s := own.start(t, user, hq)
	raw := capabilities(unix.CAP_NET_RAW)
	s.wantRights(t, map[string]string{"CapPrm": raw, "CapEff": raw, "CapInh": capabilities(), "CapAmb": capabilities(), "NoNewPrivs": "1"})
	client := l.http(t)
	s.eventually(t, "measurements", func() bool {
		_, page := fetch(t, client, "http://"+s.listen+"/metrics", "", "")
		return strings.Contains(page, `ipsec_path_icmp_reachable{peer="hq"} 1`) && strings.Contains(page, `ipsec_path_mtu_bytes{method="natt",peer="hq"} 1500`)
	})
	both := capabilities(unix.CAP_NET_RAW, unix.CAP_KILL)
	s = own.start(t, user, hq, "--no-sandbox")
	s.wantRights(t, map[string]string{"CapPrm": both, "CapEff": both, "NoNewPrivs": "0"})
}

// The files of TLS are read again for each connection, and may be replaced.
func (p program) sandboxedTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certificate(t, dir)
	web := file(t, "tls_server_config: {cert_file: "+filepath.Join(dir, "cert.pem")+", key_file: "+filepath.Join(dir, "key.pem")+"}\n")
	s := p.start(t, here, "--peer=127.0.0.1", "--web.config.file="+web)
	for range 2 {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: certificate(t, dir), MinVersion: tls.VersionTLS12}}} // a new certificate
		if code, body := fetch(t, client, "https://"+s.listen+"/-/healthy", "", ""); code != http.StatusOK {
			t.Errorf("%d %s", code, body)
		}
		client.CloseIdleConnections()
	}
}
