// Package asa fetches packet captures from a Cisco ASA over HTTPS. It only reads what an operator started on the device (one GET for each capture),
// and never starts, changes or clears one. A wrong password is not tried a second time, because devices lock accounts.
// Neither the password nor anything that the device answers with gets into an error.
package asa

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Options say how to reach a device.
type Options struct {
	// Username and PasswordFile are for basic authentication; both or neither.
	Username, PasswordFile string
	// CAFile holds the certificates that may sign the device's, in place of the system's.
	CAFile string
	// Insecure leaves the certificate unverified. Legacy also allows what devices before 9.3 speak: TLS 1.0 and weak ciphers.
	Insecure, Legacy bool
	// Timeout is how long one capture may take, MaxBytes how large it may be.
	Timeout  time.Duration
	MaxBytes int64
}

// A Client fetches captures.
type Client struct {
	options  Options
	password string
	http     *http.Client
}

const (
	maxRedirects = 3
	// maxFile bounds the files with a password or certificates.
	maxFile = 1 << 20
	// maxHead is how much of an answer is looked at to see that it is no capture.
	maxHead = 64
)

var errTooLarge = errors.New("the capture is larger than what may be fetched (--max-bytes)")

// New checks the options and reads the files they name.
func New(o Options) (*Client, error) {
	c := &Client{options: o}
	switch {
	case (o.Username == "") != (o.PasswordFile == ""):
		return nil, errors.New("--username and --password-file belong together")
	case o.Insecure && o.CAFile != "":
		return nil, errors.New("--insecure leaves nothing for --ca-file to do: give one of them")
	case o.Timeout <= 0:
		return nil, errors.New("--timeout must be more than 0")
	case o.MaxBytes <= 0:
		return nil, errors.New("--max-bytes must be more than 0")
	}
	if o.PasswordFile != "" {
		b, err := readSmall(o.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("--password-file: %w", err)
		}
		if c.password = strings.TrimRight(string(b), "\r\n"); c.password == "" {
			return nil, fmt.Errorf("--password-file: %s is empty", o.PasswordFile)
		}
	}
	config, err := tlsConfig(o)
	if err != nil {
		return nil, err
	}
	c.http = &http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, DisableKeepAlives: true},
		CheckRedirect: sameHost,
	}
	return c, nil
}

func readSmall(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}

func tlsConfig(o Options) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.Insecure}
	if o.Legacy {
		config.MinVersion = tls.VersionTLS10
		for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
			config.CipherSuites = append(config.CipherSuites, suite.ID)
		}
	}
	if o.CAFile == "" {
		return config, nil
	}
	b, err := readSmall(o.CAFile)
	if err != nil {
		return nil, fmt.Errorf("--ca-file: %w", err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("--ca-file: no certificate in %s", o.CAFile)
	}
	return config, nil
}

// sameHost follows redirects on the device itself only: it would get the password again.
func sameHost(r *http.Request, via []*http.Request) error {
	switch {
	case r.URL.Scheme != "https" || r.URL.Host != via[0].URL.Host:
		return fmt.Errorf("it redirects to another place (%s://%s), which does not get the password", r.URL.Scheme, r.URL.Host)
	case len(via) > maxRedirects:
		return errors.New("it redirects in circles")
	}
	return nil
}

// Check tells what is wrong with the address of a capture.
func Check(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return errors.New("--asa: not a URL") // the parser's error quotes it, and there may be a password in it
	case u.User != nil:
		return errors.New("--asa: no user or password in the URL: use --username and --password-file")
	case u.Scheme != "https" || u.Host == "":
		return fmt.Errorf("--asa=%s: must be like https://HOST/capture/NAME/pcap", address)
	}
	return nil
}

// Fetch gets one capture and hands it to use while it comes.
func (c *Client) Fetch(ctx context.Context, address string, use func(io.Reader) error) error {
	if err := Check(address); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.options.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return fmt.Errorf("--asa=%s: %w", address, err)
	}
	r.Header.Set("User-Agent", "ipsec_path_exporter")
	if c.options.Username != "" {
		r.SetBasicAuth(c.options.Username, c.password)
	}
	w, err := c.http.Do(r)
	if err != nil {
		if in, ok := errors.AsType[*url.Error](err); ok {
			err = in.Err // the address stands in front already, and a redirect's does not belong here
		}
		return fmt.Errorf("--asa=%s: %w", address, hint(err))
	}
	defer w.Body.Close()
	if err := status(w.StatusCode); err != nil {
		return fmt.Errorf("--asa=%s: %w", address, err)
	}
	body := bufio.NewReader(&limited{r: w.Body, left: c.options.MaxBytes})
	if head, _ := body.Peek(maxHead); isText(head) {
		return fmt.Errorf("--asa=%s: the device answers with text or a web page, not with a capture: is there a capture of this name (show capture), "+
			"does the address end in /pcap, and is this the address of its management (http server enable)", address)
	}
	return use(body)
}

// hint adds what to do about a certificate that cannot be verified.
func hint(err error) error {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Errorf("%w (give its certificate with --ca-file)", err)
	}
	return err
}

func status(code int) error {
	switch code {
	case http.StatusOK:
		return nil
	case http.StatusUnauthorized:
		return errors.New("the device does not accept the user or the password (401); not tried again, so that the account is not locked")
	case http.StatusForbidden:
		return errors.New("the user may not read captures (403)")
	case http.StatusNotFound:
		return errors.New("the device has no such capture (404)")
	}
	return fmt.Errorf("the device answers with status %d", code)
}

// isText tells what is no capture: the first bytes of all its forms are no text.
func isText(b []byte) bool {
	for _, c := range b {
		if c < '\t' || c >= 0x7f {
			return false
		}
	}
	return len(b) > 0
}

// limited ends with an error where more comes than is allowed. An error stays: who looks ahead would lose it otherwise.
type limited struct {
	r    io.Reader
	left int64
	err  error
}

// Read implements io.Reader.
func (l *limited) Read(b []byte) (n int, err error) {
	if l.err != nil {
		return 0, l.err
	}
	n, l.err = l.r.Read(b[:min(int64(len(b)), l.left+1)])
	if l.left -= int64(n); l.left < 0 {
		n, l.err = n-1, errTooLarge
	}
	return n, l.err
}
