// Package devicelogin reads what a login to a device over the network needs: a file with one
// secret, and TLS settings, also for private certificates and old versions of TLS.
//
// It opens no connection. No error repeats a secret.
package devicelogin

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxFile bounds a file with a secret or certificates.
const maxFile = 1 << 20

// ErrTooLarge means that a file is larger than any secret or list of certificates.
var ErrTooLarge = errors.New("is larger than 1 MiB")

// ErrNoCertificates means that a file holds no certificate in PEM format.
var ErrNoCertificates = errors.New("has no certificates")

// ErrEmpty means that a file holds not even a line end.
var ErrEmpty = errors.New("is empty")

// Secret returns the only line of a file, which may be an empty line but not nothing: a device that
// is sent an empty password by mistake locks the account.
func Secret(file string) (string, error) {
	b, err := read(file)
	if err != nil {
		return "", err
	}
	if len(b) == 0 {
		return "", fmt.Errorf("%s %w", file, ErrEmpty)
	}
	s := strings.TrimRight(string(b), "\r\n")
	if strings.ContainsAny(s, "\r\n") {
		return "", fmt.Errorf("%s has more than one line", file)
	}
	return s, nil
}

// TLS says how to trust a device and which versions of TLS to speak with it.
type TLS struct {
	// CAFile holds the CA certificates that the device is checked against, "" for the system's.
	CAFile   string
	Insecure bool // accept any certificate
	// Legacy also allows TLS 1.0 and weak ciphers, which an ASA before 9.3 needs.
	Legacy bool
}

// Config returns the settings for crypto/tls.
func (t TLS) Config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: t.Insecure} //nolint:gosec // the operator asked for it
	if t.Legacy {
		c.MinVersion = tls.VersionTLS10
		for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
			c.CipherSuites = append(c.CipherSuites, suite.ID)
		}
	}
	if t.CAFile == "" {
		return c, nil
	}
	pem, err := read(t.CAFile)
	if err != nil {
		return nil, err
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s %w", t.CAFile, ErrNoCertificates)
	}
	return c, nil
}

func read(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if len(b) > maxFile {
		return nil, fmt.Errorf("%s %w", file, ErrTooLarge)
	}
	return b, err
}
