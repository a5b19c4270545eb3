package ciscoasa

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// fakeWeb is the web server of a device.
type fakeWeb struct {
	*httptest.Server
	requests, logins atomic.Int64
	answer           atomic.Pointer[http.HandlerFunc] // in place of the usual
}

func newWeb(t *testing.T) *fakeWeb {
	t.Helper()
	f := &fakeWeb{}
	answers := asaAnswers()
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.requests.Add(1)
		user, password, _ := r.BasicAuth()
		if user != "ipsecmon" || password != goodPassword {
			f.logins.Add(1)
			w.WriteHeader(http.StatusUnauthorized)
			w.Write([]byte("refused: " + password))
			return
		}
		if h := f.answer.Load(); h != nil {
			(*h)(w, r)
			return
		}
		command, ok := strings.CutPrefix(r.URL.Path, "/admin/exec/")
		text, known := answers[command]
		if !ok || !known || !strings.HasPrefix(r.UserAgent(), "ASDM") || strings.Contains(r.RequestURI, "+") {
			text = "ERROR: % Invalid input detected at '^' marker.\n"
		}
		w.Write([]byte(strings.ReplaceAll(text, "\n", "\r\n")))
	}))
	f.Config.ErrorLog = log.New(io.Discard, "", 0)
	f.StartTLS()
	t.Cleanup(f.Close)
	return f
}

// config is how the device is reached; its certificate is trusted.
func (f *fakeWeb) config(t *testing.T) Config {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return Config{
		Transport: HTTPS, Address: strings.TrimPrefix(f.URL, "https://"), Username: "ipsecmon", PasswordFile: secretFile(t, goodPassword), CAFile: ca,
	}
}

func TestHTTPS(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"trusted certificate": func(*Config) {},
		"any certificate":     func(c *Config) { c.CAFile, c.Insecure = "", true },
		"legacy":              func(c *Config) { c.LegacyAlgorithms = true },
	} {
		f := newWeb(t)
		config := f.config(t)
		change(&config)
		s := open(t, config)
		for range 2 {
			table, err := read(t, s)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			checkHub(t, &table)
		}
	}
}

func TestHTTPSRefusedLoginIsNotTriedAgain(t *testing.T) {
	f := newWeb(t)
	config := f.config(t)
	config.PasswordFile = secretFile(t, badPassword)
	s := open(t, config)
	for range 3 {
		if _, err := read(t, s); !errors.Is(err, ErrLogin) {
			t.Errorf("error %v", err)
		}
	}
	if n := f.logins.Load(); n != 1 {
		t.Errorf("a wrong password was sent %d times", n)
	}
}

func TestHTTPSFaults(t *testing.T) {
	elsewhere := newWeb(t)
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		change func(*Config)
		want   string
	}{
		"untrusted certificate": {nil, func(c *Config) { c.CAFile = "" }, "certificate"},
		"no certificates":       {nil, func(c *Config) { c.CAFile = c.PasswordFile }, "has no certificates"},
		"no file":               {nil, func(c *Config) { c.CAFile += ".missing" }, "reading certificates"},
		"a page":                {func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("\n<html>log in</html>")) }, nil, "answers with a web page"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/admin/exec/show%20version", http.StatusFound)
		}, nil, "HTTP status 302"},
		"forbidden":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, nil, "login refused"},
		"server error": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, nil, "HTTP status 500"},
		"all unknown":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, nil, "not readable"},
		"all empty":    {func(http.ResponseWriter, *http.Request) {}, nil, "not readable"},
		"other text":   {func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("hello\n")) }, nil, "not readable"},
	} {
		f := newWeb(t)
		if c.answer != nil {
			f.answer.Store(&c.answer)
		}
		config := f.config(t)
		if c.change != nil {
			c.change(&config)
		}
		if _, err := read(t, open(t, config)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
	if elsewhere.requests.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

func TestHTTPSHangs(t *testing.T) {
	f := newWeb(t)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	hang := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release })
	f.answer.Store(&hang)
	s := open(t, f.config(t))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := s.Read(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	time.AfterFunc(200*time.Millisecond, func() { s.Close() })
	if _, err := s.Read(t.Context()); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	f.answer.Store(nil)
	table, err := read(t, s)
	if err != nil {
		t.Fatal(err)
	}
	checkHub(t, &table)
}
