//go:build linux

package demo

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"embed"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"
)

const (
	hubName = "hub"
	hubUser = "exporter"
	// readEvery is the shortest interval that the exporter allows for a device.
	readEvery = 5 * time.Second
	// traffic is the number of packets that a tunnel carries each way per second.
	traffic = 20
)

// A tunnel is what the hub shows of a peer: a negotiation that does not complete, or a tunnel that
// is up and for which the hub assumes a path MTU.
type tunnel struct {
	stuck   bool
	pathMTU int
}

// A hub is a simulated Cisco ASA in the head office of the demo. It answers the commands that read
// its SA tables, over HTTPS like the device. The commands that it does not know are refused.
type hub struct {
	began time.Time
	sas   []hubSA
}

// A hubSA is the SA of one peer. Number counts them from 1.
type hubSA struct {
	tunnel

	Number  int
	Address string
}

// newHub returns the hub with the tunnels of the peers, whose addresses are in the same order.
func newHub(all []peer, addresses []string) *hub {
	h := &hub{began: time.Now()}
	for i := range all {
		if all[i].tunnel != (tunnel{}) {
			h.sas = append(h.sas, hubSA{tunnel: all[i].tunnel, Number: len(h.sas) + 1, Address: addresses[i]})
		}
	}
	return h
}

// Stuck reports whether the negotiation does not complete.
func (s *hubSA) Stuck() bool { return s.stuck }

// PathMTU returns the path MTU that the hub assumes.
func (s *hubSA) PathMTU() int { return s.pathMTU }

// outputs are the answers to commands, as templates: the file names are the commands.
//
//go:embed hub
var outputs embed.FS

// answer returns the output of a command, and whether the hub knows the command.
func (h *hub) answer(command string, now time.Time) (text []byte, known bool, err error) {
	all, err := template.ParseFS(outputs, "hub/*.txt")
	if err != nil {
		return nil, false, fmt.Errorf("outputs of the hub: %w", err)
	}
	t := all.Lookup(strings.ReplaceAll(command, " ", "-") + ".txt")
	if t == nil {
		return nil, false, nil
	}
	age := int(now.Sub(h.began).Seconds())
	var b bytes.Buffer
	err = t.Execute(&b, map[string]any{"SAs": h.sas, "Count": len(h.sas), "Remaining": max(0, 86400-age), "Packets": traffic * age})
	return b.Bytes(), true, err
}

// execPath is where the device runs commands: the command is the rest of the path.
const execPath = "/admin/exec/"

// handler serves the commands to a client with the password.
func (h *hub) handler(password string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+execPath, func(w http.ResponseWriter, r *http.Request) {
		user, given, _ := r.BasicAuth()
		if user != hubUser || subtle.ConstantTimeCompare([]byte(given), []byte(password)) != 1 {
			http.Error(w, "authorization required", http.StatusUnauthorized)
			return
		}
		text, known, err := h.answer(strings.TrimPrefix(r.URL.Path, execPath), time.Now())
		switch {
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		case !known:
			http.NotFound(w, r)
		default:
			w.Header().Set("Content-Type", "text/plain")
			_, _ = w.Write(text) //nolint:gosec // plain text; a reader that has left needs no answer
		}
	})
	return mux
}

// A login is what the exporter needs to read the hub.
type login struct{ address, passwordFile, caFile string }

// startHub serves the hub on loopback until ctx ends, and writes what its reader needs to a new
// directory.
func startHub(ctx context.Context, h *hub, dir string) (*login, error) {
	certificate, authority, err := selfSigned()
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	password := rand.Text()
	at := &login{passwordFile: filepath.Join(dir, "password"), caFile: filepath.Join(dir, "ca.pem")}
	err = errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(at.passwordFile, []byte(password), 0o600), os.WriteFile(at.caFile, authority, 0o600))
	if err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	at.address = l.Addr().String()
	server := &http.Server{
		Handler: h.handler(password), ReadHeaderTimeout: askTimeout,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}},
	}
	context.AfterFunc(ctx, func() { _ = server.Close() }) // it ends with the demo
	go func() { _ = server.ServeTLS(l, "", "") }()        // returns when it is closed
	return at, nil
}

// selfSigned returns a certificate for loopback, and the same as PEM for its reader.
func selfSigned() (certificate tls.Certificate, authority []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return certificate, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return certificate, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
