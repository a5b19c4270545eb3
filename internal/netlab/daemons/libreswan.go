package daemons

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"

	"ipsec_path_exporter/internal/netlab"
)

// A Libreswan is the configuration of a pluto.
type Libreswan struct {
	// Conn is its ipsec.conf; empty leaves pluto without any connection.
	Conn string
}

// A Pluto is a running Libreswan daemon.
type Pluto struct {
	*daemon
	whack string
}

// libreswanPeer is the ipsec.conf of one end of a tunnel: IKEv1 policy, local and remote address,
// local and remote network, IKEv2 or not. By default pluto would run strongSwan's script, which is
// installed at Libreswan's path.
const libreswanPeer = `config setup
    uniqueids=no
    ikev1-policy=%s
conn %s
    left=%s
    right=%s
    leftsubnet=%s
    rightsubnet=%s
    ikev2=%s
    authby=secret
    leftupdown=%%disabled
    auto=add
`

// LibreswanPeer returns an ipsec.conf with one connection between two addresses, of IKE version 1
// or 2. With version 2 pluto keeps its default and drops all IKEv1.
func LibreswanPeer(version int, local, remote netip.Addr) string {
	policy, v2 := "drop", "yes"
	if version == 1 {
		policy, v2 = "accept", "no"
	}
	return fmt.Sprintf(libreswanPeer, policy, ConnName, local, remote, Protected(local), Protected(remote), v2)
}

// libreswanExecDir is the compiled-in folder of pluto's helpers.
const libreswanExecDir = "/usr/libexec/ipsec"

// NeedLibreswan skips the test if pluto or certutil is missing.
func NeedLibreswan(t netlab.T) {
	t.Helper()
	netlab.Need(t)
	if _, _, err := libreswanPrograms(); err != nil {
		missing(t, err)
	}
}

// libreswanRoot returns the folder of the unpacked package, or nothing if it is installed.
func libreswanRoot() string { return os.Getenv("LIBRESWAN_ROOT") }

func libreswanPrograms() (execDir, certutil string, err error) {
	execDir = filepath.Join(libreswanRoot(), libreswanExecDir)
	if _, err = find(filepath.Join(execDir, "pluto")); err != nil {
		return "", "", fmt.Errorf("%w (LIBRESWAN_ROOT=%q)", err, libreswanRoot())
	}
	certutil, err = find("certutil")
	return execDir, certutil, err
}

// StartLibreswan starts pluto in the namespace, loads its connections and waits until it listens.
func StartLibreswan(t netlab.T, n *netlab.NS, l Libreswan) *Pluto {
	t.Helper()
	NeedLibreswan(t)
	execDir, certutil, err := libreswanPrograms()
	if err != nil {
		t.Fatalf("%v", err)
	}
	dir := t.TempDir()
	conf := write(t, dir, "ipsec.conf", l.Conn)
	secrets := write(t, dir, "ipsec.secrets", fmt.Sprintf(": PSK %q\n", Secret))
	nss := filepath.Dir(write(t, dir, "nss/empty", ""))
	if _, err := output(nil, certutil, "-N", "-d", "sql:"+nss, "--empty-password"); err != nil {
		t.Fatalf("key database: %v", err)
	}
	p := &Pluto{whack: filepath.Join(execDir, "whack")}
	pluto := filepath.Join(execDir, "pluto")
	var mounts map[string]string
	if libreswanRoot() != "" {
		// The helpers' folder is compiled in. Its parent may hold files of other packages, which
		// pluto does not need.
		mounts = map[string]string{filepath.Dir(libreswanExecDir): filepath.Dir(execDir)}
	}
	p.daemon = start(t, n, program{
		name: "pluto", dir: dir, mounts: mounts,
		args: []string{
			pluto, "--nofork", "--config", conf, "--secretsfile", secrets, "--nssdir", nss, "--rundir", "/run",
			"--logfile", filepath.Join(dir, "pluto.log"),
		},
	})
	p.await(t, "answer on its control socket", func() bool {
		_, err := p.Whack("--status")
		return err == nil
	})
	addconn := []string{filepath.Join(execDir, "addconn"), "--config", conf, "--ctlsocket", p.Socket(), "--autoall"}
	if l.Conn != "" {
		if _, err := output(nil, addconn...); err != nil {
			t.Fatalf("load connections: %v", err)
		}
	}
	if _, err := p.Whack("--listen"); err != nil {
		t.Fatalf("%v", err)
	}
	return p
}

// Socket returns the path of pluto's control socket.
func (p *Pluto) Socket() string { return filepath.Join(p.runDir, "pluto.ctl") }

// Whack runs a whack command against the daemon.
func (p *Pluto) Whack(args ...string) (string, error) {
	return output(nil, append([]string{p.whack, "--ctlsocket", p.Socket()}, args...)...)
}

// HalfOpen returns the number of unfinished IKE SAs of remote initiators. pluto's own count omits
// IKEv1, so this counts the states.
func (p *Pluto) HalfOpen(t netlab.T) int {
	t.Helper()
	states, err := p.Whack("--showstates")
	if err != nil {
		t.Fatalf("%v", err)
	}
	return len(regexp.MustCompile(`STATE_(V2_PARENT_R[01]|V2_PARENT_RESPONDER_R1|MAIN_R[012]|AGGR_R[01])\b`).
		FindAllString(states, -1))
}
