package main

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"ipsec_path_exporter/internal/netlab/daemons"
)

const waitingLine = `msg="no peers yet; waiting for a gateway of this host that lists peers, or for peers in the configuration"`

// Without peers and without a gateway, the program serves its metrics and takes up the configuration
// when somebody writes one.
func (p program) waiting(t *testing.T) {
	t.Parallel()
	name := file(t, "peers: []\n")
	s := p.start(t, here, "--config.file="+name)
	for path, want := range map[string]string{"/metrics": "ipsec_path_config_last_reload_successful 1\n", "/-/ready": "ready", "/": "<html"} {
		if body := s.get(t, path); !strings.Contains(body, want) {
			t.Errorf("GET %s while waiting lacks %s:\n%s", path, want, body)
		}
	}
	write := func(text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("peers: [{name: hq, address: 203.0.113.300}]\n")
	s.eventually(t, "the complaint", func() bool {
		return strings.Contains(s.log.String(), "reload failed; keeping the current configuration")
	})
	write("peers: [{name: hq, address: 127.0.0.1}]\n")
	s.eventually(t, "the peer", func() bool { return strings.Contains(s.get(t, "/metrics"), `ipsec_path_icmp_reachable{peer="hq"} 1`) })
	for line, times := range map[string]int{waitingLine: 1, "reload failed": 1, `msg="configuration reloaded"`: 1} {
		if n := strings.Count(s.log.String(), line); n != times {
			t.Errorf("%d times %s, want %d:\n%s", n, line, times, s.log)
		}
	}
	// A file that was cut off does not end what is measured.
	write("")
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.eventually(t, "the refusal", func() bool {
		return strings.Contains(s.log.String(), `keeping the current configuration" err="`+name+`: no peers: `)
	})
	if !strings.Contains(s.get(t, "/metrics"), `ipsec_path_icmp_requests_total{peer="hq"}`) {
		t.Error("an empty file ended the measurement")
	}
}

// The IKE daemon may start after the program. Its peers are measured then, and the log names their
// origin once. check and gateway without arguments find the same.
func (p program) waitingForCharon(t *testing.T) {
	t.Parallel()
	daemons.NeedStrongSwan(t)
	l := newLab(t)
	peer := l.ServerAddr(false).String()
	charon := daemons.StartStrongSwan(t, l.Client, daemons.StrongSwan{Conn: daemons.StrongSwanPeer(2, l.ClientAddr(false), l.ServerAddr(false))})
	charon.Stop(t)
	name := file(t, "gateways: [{name: charon, type: strongswan, socket: 'unix://"+charon.Socket()+"'}]\n")
	s := p.start(t, l.privileged, "--config.file="+name)
	s.eventually(t, "it waits", func() bool { return strings.Contains(s.log.String(), waitingLine) })
	if got := p.run(t, l.privileged, "check", "--config.file="+name); got.Code != exitUnable || !strings.Contains(got.Stderr, "(charon: ") {
		t.Errorf("check without charon: %d\n%s", got.Code, got.Stderr)
	}
	charon.Restart(t)
	client := l.http(t)
	s.eventually(t, "the peer", func() bool {
		_, page := fetch(t, client, "http://"+s.listen+"/metrics", "", "")
		return strings.Contains(page, `ipsec_path_ike_responding{method="ike",peer="`+peer+`"} 1`)
	})
	const listed = `msg="gateway lists peers" gateway=charon type=strongswan peers=1 added=`
	for line, times := range map[string]int{waitingLine: 1, listed + peer: 1, "asking the gateway for its peers failed": 1, "lists its peers again": 1} {
		if n := strings.Count(s.log.String(), line); n != times {
			t.Errorf("%d times %s, want %d:\n%s", n, line, times, s.log)
		}
	}
	got := p.run(t, l.privileged, "check", "--config.file="+name)
	if want := "note: gateway charon lists 1 peers: " + peer + "\n"; got.Code != exitOK || got.Stderr != want || !strings.HasPrefix(got.Stdout, peer+": no fault found") {
		t.Errorf("check: %d\n%s\n%s", got.Code, got.Stderr, got.Stdout)
	}
	got = p.run(t, l.privileged, "gateway", "--config.file="+name)
	if got.Code != exitOK || !strings.HasPrefix(got.Stdout, "charon (strongswan ") {
		t.Errorf("gateway: %d\n%s\n%s", got.Code, got.Stderr, got.Stdout)
	}
}
