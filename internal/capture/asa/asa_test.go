package asa_test

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ipsec_path_exporter/internal/capture/asa"
	"ipsec_path_exporter/internal/devicelogin"
)

// The secret must stand nowhere, not even where the device repeats it.
const (
	user   = "ipsecmon"
	secret = "s3cret-of-the-device"
)

// pcap is the beginning of a capture.
const pcap = "\xd4\xc3\xb2\xa1\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x00\x00\x01\x00\x00\x00"

// A device is an ASA as far as captures go.
type device struct {
	*httptest.Server
	requests, elsewhere atomic.Int32
}

func newDevice(t *testing.T) *device {
	t.Helper()
	d := &device{}
	other := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { d.elsewhere.Add(1) }))
	t.Cleanup(other.Close)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /capture/ISAKMP/pcap", func(w http.ResponseWriter, r *http.Request) {
		d.requests.Add(1)
		if name, password, ok := r.BasicAuth(); !ok || name != user || password != secret {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = w.Write([]byte(pcap)) // the client reports what arrived
	})
	mux.HandleFunc("GET /capture/MOVED/pcap", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/capture/ISAKMP/pcap", http.StatusFound)
	})
	mux.HandleFunc("GET /capture/AWAY/pcap", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+"/"+secret, http.StatusFound)
	})
	mux.HandleFunc("GET /capture/PLAIN/pcap", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+r.Host+"/capture/ISAKMP/pcap", http.StatusFound)
	})
	mux.HandleFunc("GET /capture/ROUND/pcap", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/capture/ROUND/pcap", http.StatusFound)
	})
	mux.HandleFunc("GET /capture/PAGE/pcap", func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		_, _ = w.Write([]byte("<html>Please log in, " + password + "</html>")) // the client reports what arrived
	})
	mux.HandleFunc("GET /capture/DENIED/pcap", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	mux.HandleFunc("GET /capture/SLOW/pcap", func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(pcap)) // the client reports what arrived
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	d.Server = httptest.NewUnstartedServer(mux)
	d.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // a client that does not trust it closes the connection
	d.StartTLS()
	t.Cleanup(d.Close)
	return d
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func (d *device) options(t *testing.T) asa.Options {
	t.Helper()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.Certificate().Raw})
	return asa.Options{
		Username: user, PasswordFile: file(t, "password", secret+"\n"), TLS: devicelogin.TLS{CAFile: file(t, "ca.pem", string(ca))}, Timeout: time.Minute, MaxBytes: 1 << 20,
	}
}

// fetch gets what a client makes of one capture.
func fetch(t *testing.T, o asa.Options, address string) (string, error) {
	t.Helper()
	c, err := asa.New(o)
	if err != nil {
		return "", err
	}
	var got []byte
	err = c.Fetch(t.Context(), address, func(r io.Reader) error {
		var err error
		got, err = io.ReadAll(r)
		return err
	})
	return string(got), err
}

func TestFetch(t *testing.T) {
	d := newDevice(t)
	for name, c := range map[string]struct {
		path   string
		change func(*asa.Options)
		want   string // of the error
	}{
		"all well":          {"/capture/ISAKMP/pcap", nil, ""},
		"moved":             {"/capture/MOVED/pcap", nil, ""},
		"not verified":      {"/capture/ISAKMP/pcap", func(o *asa.Options) { o.TLS.CAFile, o.TLS.Insecure = "", true }, ""},
		"old":               {"/capture/ISAKMP/pcap", func(o *asa.Options) { o.TLS.Legacy = true }, ""},
		"no trust":          {"/capture/ISAKMP/pcap", func(o *asa.Options) { o.TLS.CAFile = "" }, "(give its certificate with --ca-file)"},
		"no user":           {"/capture/ISAKMP/pcap", func(o *asa.Options) { o.Username, o.PasswordFile = "", "" }, "does not accept the user or the password (401)"},
		"wrong password":    {"/capture/ISAKMP/pcap", func(o *asa.Options) { o.Username = "other" }, "not tried again, so that the account is not locked"},
		"another host":      {"/capture/AWAY/pcap", nil, "device redirects to https://127.0.0.1:"},
		"without TLS":       {"/capture/PLAIN/pcap", nil, "device redirects to http://127.0.0.1:"},
		"in circles":        {"/capture/ROUND/pcap", nil, "device redirects more than 3 times"},
		"a web page":        {"/capture/PAGE/pcap", nil, "the device answers with text or a web page, not with a capture"},
		"no such capture":   {"/capture/NONE/pcap", nil, "no such capture (404)"},
		"forbidden":         {"/capture/DENIED/pcap", nil, "may not read captures (403)"},
		"too large":         {"/capture/ISAKMP/pcap", func(o *asa.Options) { o.MaxBytes = int64(len(pcap)) - 1 }, "larger than what may be fetched"},
		"just not so large": {"/capture/ISAKMP/pcap", func(o *asa.Options) { o.MaxBytes = int64(len(pcap)) }, ""},
		"too slow":          {"/capture/SLOW/pcap", func(o *asa.Options) { o.Timeout = 300 * time.Millisecond }, "context deadline exceeded"},
	} {
		o := d.options(t)
		if c.change != nil {
			c.change(&o)
		}
		d.requests.Store(0)
		got, err := fetch(t, o, d.URL+c.path)
		switch {
		case c.want == "" && (err != nil || got != pcap):
			t.Errorf("%s: %q, %v", name, got, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %s", name, err, c.want)
		case err != nil && strings.Contains(err.Error(), secret):
			t.Errorf("%s: the secret is in %v", name, err)
		}
		if n := d.requests.Load(); n > 1 {
			t.Errorf("%s: %d requests", name, n)
		}
	}
	if n := d.elsewhere.Load(); n > 0 {
		t.Errorf("%d requests to another host", n)
	}
}

func TestCancel(t *testing.T) {
	d := newDevice(t)
	c, err := asa.New(d.options(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Fetch(ctx, d.URL+"/capture/ISAKMP/pcap", func(io.Reader) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	d := newDevice(t)
	for want, change := range map[string]func(*asa.Options){
		"--username and --password-file belong together":   func(o *asa.Options) { o.Username = "" },
		"--insecure and --ca-file exclude each other":      func(o *asa.Options) { o.TLS.Insecure = true },
		"--timeout must be more than 0":                    func(o *asa.Options) { o.Timeout = 0 },
		"--max-bytes must be more than 0":                  func(o *asa.Options) { o.MaxBytes = 0 },
		"--password-file: open /nonexistent: no such file": func(o *asa.Options) { o.PasswordFile = "/nonexistent" },
		"is empty": func(o *asa.Options) { o.PasswordFile = file(t, "empty", "\n") },
		"--ca-file: open /nonexistent: no such file": func(o *asa.Options) { o.TLS.CAFile = "/nonexistent" },
		"has no certificates":                        func(o *asa.Options) { o.TLS.CAFile = o.PasswordFile },
	} {
		o := d.options(t)
		change(&o)
		if _, err := asa.New(o); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for address, want := range map[string]string{
		"https://asa.example/capture/ISAKMP/pcap":                "",
		"http://asa.example/capture/ISAKMP/pcap":                 "--asa=http://asa.example/capture/ISAKMP/pcap: must be like https://HOST/capture/NAME/pcap",
		"asa.example":                                            "--asa=asa.example: must be like https://HOST/capture/NAME/pcap",
		"https://" + user + ":" + secret + "@asa.example/x":      "--asa: no user or password in the URL: use --username and --password-file",
		"https://" + user + ":" + secret + "%zz@asa.example/%zz": "--asa: not a URL",
	} {
		err := asa.Check(address)
		if want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%s: %v, want %s", address, err, want)
		}
	}
}
