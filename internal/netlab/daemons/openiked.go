package daemons

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	_ "embed"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"ipsec_path_exporter/internal/netlab"
)

// shimSource is the library that replaces PF_KEY for iked on a kernel without it.
//
//go:embed shim/iked_shim.c
var shimSource string

// An OpenIKED is the configuration of an iked.
type OpenIKED struct {
	// Conn is its iked.conf.
	Conn string
}

// An Iked is a running OpenIKED daemon.
type Iked struct {
	*daemon
	control string
}

// OpenIKEDPeer returns an iked.conf with one passive connection between two addresses.
func OpenIKEDPeer(local, remote netip.Addr) string {
	return fmt.Sprintf("ikev2 %q passive esp from %s to %s local %s peer %s srcid %s psk %q\n",
		ConnName, Protected(local), Protected(remote), local, remote, local, Secret)
}

// NeedOpenIKED skips the test if iked or the compiler for its shim is missing.
func NeedOpenIKED(t netlab.T) {
	t.Helper()
	netlab.Need(t)
	if _, _, _, err := openIKEDPrograms(); err != nil {
		missing(t, err)
	}
}

func openIKEDPrograms() (iked, ikectl, cc string, err error) {
	iked, err = find("iked", "/usr/sbin/iked")
	ikectl, err2 := find("ikectl", "/usr/sbin/ikectl")
	cc, err3 := find("cc", "gcc", "clang")
	return iked, ikectl, cc, errors.Join(err, err2, err3)
}

// StartOpenIKED starts iked in the namespace and waits until it answers on its control socket.
func StartOpenIKED(t netlab.T, n *netlab.NS, o OpenIKED) *Iked {
	t.Helper()
	NeedOpenIKED(t)
	iked, ikectl, cc, err := openIKEDPrograms()
	if err != nil {
		t.Fatalf("%v", err)
	}
	dir := t.TempDir()
	shim := filepath.Join(dir, "shim.so")
	source := write(t, dir, "shim.c", shimSource)
	if _, err := output(nil, cc, "-O1", "-shared", "-fPIC", "-o", shim, source, "-ldl", "-lpthread"); err != nil {
		t.Fatalf("compile the shim: %v", err)
	}
	i := &Iked{control: ikectl}
	i.daemon = start(t, n, program{
		name: "iked", dir: dir, env: []string{"LD_PRELOAD=" + shim},
		args:   []string{iked, "-d", "-v", "-s", "/run/iked.sock", "-f", write(t, dir, "iked.conf", o.Conn)},
		mounts: map[string]string{"/etc/iked": ikedFiles(t, dir)},
	})
	i.await(t, "answer on its control socket", func() bool {
		_, err := i.Ikectl("show", "sa")
		return err == nil
	})
	i.await(t, "listen on UDP 500 and 4500", func() bool { return listening(n, 500) && listening(n, 4500) })
	return i
}

// listening reports whether a process in the namespace has bound a UDP port, of either family. iked
// answers on its control socket earlier.
func listening(n *netlab.NS, port uint16) bool {
	want := fmt.Sprintf(":%04X ", port)
	found := false
	err := n.Run(func() error {
		for _, table := range []string{"udp", "udp6"} {
			b, err := os.ReadFile("/proc/thread-self/net/" + table)
			if err != nil {
				return err
			}
			found = found || strings.Contains(string(b), want)
		}
		return nil
	})
	return err == nil && found
}

// ikedFiles creates a folder in place of /etc/iked, with the host key that iked requires at its
// start. The host's own key is not readable for all users.
func ikedFiles(t netlab.T, dir string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("host key: %v", err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatalf("host key: %v", err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatalf("host key: %v", err)
	}
	etc := filepath.Join(dir, "etc")
	write(t, etc, "private/local.key", string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})))
	write(t, etc, "local.pub", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})))
	for _, sub := range []string{"ca", "certs", "crls", "pubkeys/ipv4", "pubkeys/ipv6", "pubkeys/fqdn", "pubkeys/ufqdn"} {
		if err := os.MkdirAll(filepath.Join(etc, sub), 0o700); err != nil {
			t.Fatalf("%v", err)
		}
	}
	return etc
}

// Ikectl runs an ikectl command against the daemon.
func (i *Iked) Ikectl(args ...string) (string, error) {
	return output(nil, append([]string{i.control, "-s", filepath.Join(i.runDir, "iked.sock")}, args...)...)
}
