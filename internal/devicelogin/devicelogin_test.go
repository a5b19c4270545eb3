package devicelogin_test

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ipsec_path_exporter/internal/devicelogin"
)

func file(t *testing.T, content []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestSecret(t *testing.T) {
	for content, want := range map[string]string{"\n": "", "secret": "secret", "secret\r\n": "secret", " with blanks \n": " with blanks "} {
		if got, err := devicelogin.Secret(file(t, []byte(content))); err != nil || got != want {
			t.Errorf("%q: %q, %v", content, got, err)
		}
	}
	empty := file(t, nil)
	if _, err := devicelogin.Secret(empty); !errors.Is(err, devicelogin.ErrEmpty) || err.Error() != empty+" is empty" {
		t.Errorf("nothing: %v", err)
	}
	_, err := devicelogin.Secret(file(t, []byte("planted\nsecond\n")))
	if err == nil || strings.Contains(err.Error(), "planted") {
		t.Errorf("two lines: %v", err)
	}
	if _, err := devicelogin.Secret(file(t, make([]byte, 1<<20))); err != nil {
		t.Errorf("1 MiB: %v", err)
	}
	large := file(t, bytes.Repeat([]byte("s"), 1<<20+1))
	if s, err := devicelogin.Secret(large); !errors.Is(err, devicelogin.ErrTooLarge) || err.Error() != large+" is larger than 1 MiB" {
		t.Errorf("more than 1 MiB: %d bytes, %v", len(s), err)
	}
	if _, err := devicelogin.Secret("/nonexistent"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestTLS(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	ca := file(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	dial := func(o devicelogin.TLS) error {
		t.Helper()
		c, err := o.Config()
		if err != nil {
			t.Fatal(err)
		}
		conn, err := tls.Dial("tcp", server.Listener.Addr().String(), c)
		if err == nil {
			conn.Close()
		}
		return err
	}
	for _, o := range []devicelogin.TLS{{CAFile: ca}, {Insecure: true}, {CAFile: ca, Legacy: true}} {
		if err := dial(o); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](dial(devicelogin.TLS{})); !ok {
		t.Error("a certificate that no known authority signed is accepted")
	}
	if _, err := (devicelogin.TLS{CAFile: file(t, []byte("nothing"))}).Config(); !errors.Is(err, devicelogin.ErrNoCertificates) {
		t.Errorf("file without certificates: %v", err)
	}
	if _, err := (devicelogin.TLS{CAFile: "/nonexistent"}).Config(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestLegacy(t *testing.T) {
	usual, err := devicelogin.TLS{}.Config()
	if err != nil || usual.MinVersion != tls.VersionTLS12 || usual.CipherSuites != nil {
		t.Errorf("%v: %+v", err, usual)
	}
	legacy, err := devicelogin.TLS{Legacy: true}.Config()
	if err != nil || legacy.MinVersion != tls.VersionTLS10 || !slices.Contains(legacy.CipherSuites, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA) {
		t.Errorf("%v: %+v", err, legacy)
	}
}
