// Package asa fetches packet captures from a Cisco ASA over HTTPS. It only reads captures that an
// operator started on the device, with one GET for each, and never starts, changes or clears one. A
// refused password is not sent again, because devices lock accounts. No error contains the password
// or text that the device sent.
package asa

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"ipsec_path_exporter/internal/devicelogin"
)

// Options say how to reach a device.
type Options struct {
	// Username and PasswordFile are for basic authentication: both or neither.
	Username, PasswordFile string
	TLS                    devicelogin.TLS
	// Timeout limits the time for one capture, MaxBytes its size.
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
	// maxHead is how much of a response is read to see that it is not a capture.
	maxHead = 64
)

var errTooLarge = errors.New("the capture is larger than what may be fetched (--max-bytes)")

// New checks the options and reads the files that they name.
func New(o Options) (*Client, error) {
	c := &Client{options: o}
	switch {
	case (o.Username == "") != (o.PasswordFile == ""):
		return nil, errors.New("--username and --password-file belong together")
	case o.TLS.Insecure && o.TLS.CAFile != "":
		return nil, errors.New("--insecure and --ca-file exclude each other: give one of them")
	case o.Timeout <= 0:
		return nil, errors.New("--timeout must be more than 0")
	case o.MaxBytes <= 0:
		return nil, errors.New("--max-bytes must be more than 0")
	}
	var err error
	if o.PasswordFile != "" {
		if c.password, err = devicelogin.Secret(o.PasswordFile); err != nil {
			return nil, fmt.Errorf("--password-file: %w", err)
		}
		if c.password == "" {
			return nil, fmt.Errorf("--password-file: %s is empty", o.PasswordFile)
		}
	}
	config, err := o.TLS.Config()
	if err != nil {
		return nil, fmt.Errorf("--ca-file: %w", err)
	}
	c.http = &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, DisableKeepAlives: true,
		},
		CheckRedirect: sameHost,
	}
	return c, nil
}

// sameHost follows redirects on the device itself only, because each request carries the password.
func sameHost(r *http.Request, via []*http.Request) error {
	switch {
	case r.URL.Scheme != "https" || r.URL.Host != via[0].URL.Host:
		return fmt.Errorf("device redirects to %s://%s, which must not get the password", r.URL.Scheme, r.URL.Host)
	case len(via) > maxRedirects:
		return fmt.Errorf("device redirects more than %d times", maxRedirects)
	}
	return nil
}

// Check returns what is wrong with the address of a capture.
func Check(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return errors.New("--asa: not a URL") // the error of the parser quotes the URL, and with it a password
	case u.User != nil:
		return errors.New("--asa: no user or password in the URL: use --username and --password-file")
	case u.Scheme != "https" || u.Host == "":
		return fmt.Errorf("--asa=%s: must be like https://HOST/capture/NAME/pcap", address)
	}
	return nil
}

// Fetch requests one capture and calls use with its body while the body arrives.
func (c *Client) Fetch(ctx context.Context, address string, use func(io.Reader) error) error {
	if err := Check(address); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.options.Timeout)
	defer cancel()
	w, err := c.get(ctx, address)
	if err != nil {
		return fmt.Errorf("--asa=%s: %w", address, err)
	}
	defer w.Body.Close()
	body := bufio.NewReader(&limited{r: w.Body, left: c.options.MaxBytes})
	if head, _ := body.Peek(maxHead); isText(head) {
		return fmt.Errorf("--asa=%s: the device answers with text or a web page, not with a capture: "+
			"check that the capture exists (show capture), that the address ends in /pcap, "+
			"and that it is the management address (http server enable)", address)
	}
	if err := use(body); err != nil {
		return err
	}
	// A body without a length can end cleanly at the deadline, because the device answers the
	// client's close_notify.
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("--asa=%s: the capture is cut off: %w", address, err)
	}
	return nil
}

// get returns a response with status 200, whose body the caller closes.
func (c *Client) get(ctx context.Context, address string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", "ipsec_path_exporter")
	if c.options.Username != "" {
		r.SetBasicAuth(c.options.Username, c.password)
	}
	w, err := c.http.Do(r)
	if err != nil {
		if in, ok := errors.AsType[*url.Error](err); ok {
			err = in.Err // the caller adds the address that it asked for
		}
		return nil, hint(err)
	}
	if err := status(w.StatusCode); err != nil {
		w.Body.Close()
		return nil, err
	}
	return w, nil
}

// hint adds to the error of a certificate that cannot be verified what to do about it.
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

// isText reports whether b is text. Every capture format starts with bytes that are not text.
func isText(b []byte) bool {
	for _, c := range b {
		if c < '\t' || c >= 0x7f {
			return false
		}
	}
	return len(b) > 0
}

// limited returns errTooLarge after the allowed number of bytes. It repeats an error, because a
// bufio.Reader that looks ahead reports an error once.
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
