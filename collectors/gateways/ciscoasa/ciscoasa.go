// Package ciscoasa reads the SA table of a Cisco ASA, or of FTD, which runs the same software, and
// of Cisco IOS and IOS-XE.
//
//	SSH (shell.go: prompts, pager, enable)  \
//	HTTPS (https.go: /admin/exec/...)        > command -> text -> parsers -> device.go -> Table
//	a recorded transcript (replay.go)       /  (pure, tolerant: unknown lines are counted)
//
// It sends only `show` commands, and the commands that lead to them: enable, login, changeto
// context and terminal pager. A login that was refused is not tried again for a long time, because
// devices lock accounts.
//
// It configures nothing, does not read captures, and does not judge what the SAs mean.
package ciscoasa

import (
	"cmp"
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"ipsec_path_exporter/collectors/gateways"
)

// Transports.
const (
	SSH   = "ssh"
	HTTPS = "https"
)

// DefaultLoginRetry is how long the same credentials are not tried again after they were refused.
// It doubles from refusal to refusal, up to a day.
const DefaultLoginRetry = 30 * time.Minute

// ErrLogin means that the device refused the credentials. It is returned without asking the device
// again until a long time has passed, or the credentials have changed.
var ErrLogin = errors.New("login refused")

// Config says how a device is reached. New does not check it.
type Config struct {
	// Type is cisco_asa, which is also right for FTD, or cisco_ios; "" is cisco_asa. `show version`
	// may correct it.
	Type string
	// Transport is ssh or https; "" is ssh.
	Transport string
	// Address is a host, with a port where it is not the usual one.
	Address string

	Username string
	// PasswordFile and EnablePasswordFile hold one secret each. They are read for each login, so a
	// changed one is used at once. Without EnablePasswordFile the session stays as privileged as
	// the login made it.
	PasswordFile, EnablePasswordFile string
	// EnableLevel is that of `enable 5`, 0 for plain `enable`. EnableLogin uses `login` in its
	// place, which asks for user name and password again.
	EnableLevel int
	EnableLogin bool
	// Context is entered by `changeto context` after the login, by SSH only.
	Context string

	// KnownHostsFile has the host keys that are trusted, in the format of OpenSSH.
	KnownHostsFile string
	// CAFile has the certificates that are trusted for HTTPS, "" for the certificates of the
	// system. Insecure trusts any.
	CAFile   string
	Insecure bool
	// LegacyAlgorithms also allows what old devices need and no other device should: group1 and CBC
	// for SSH, TLS 1.0 for HTTPS.
	LegacyAlgorithms bool

	// LoginRetry is in place of DefaultLoginRetry.
	LoginRetry time.Duration
	// Refusals are what is known of refused logins, nil where no other source is to know.
	Refusals *Refusals
}

// A Source reads one device.
type Source struct {
	device  device
	secrets *vault
}

var (
	_ gateways.Source   = (*Source)(nil)
	_ gateways.Recorder = (*Source)(nil)
)

// New makes the source of one device. It does not connect yet, and reads no file.
func New(c Config) *Source {
	c.Transport, c.LoginRetry = cmp.Or(c.Transport, SSH), cmp.Or(c.LoginRetry, DefaultLoginRetry)
	if c.Refusals == nil {
		c.Refusals = &Refusals{}
	}
	v := &vault{config: &c, refusals: c.Refusals}
	s := &Source{secrets: v, device: device{expected: cmp.Or(platformOf(c.Type), platformASA), clean: v.clean}}
	if c.Transport == HTTPS {
		s.device.over = &httpsTransport{config: &c, vault: v}
	} else {
		s.device.over = &sshTransport{config: &c, vault: v, ios: s.device.expected == platformIOS}
	}
	return s
}

// Read implements gateways.Source.
func (s *Source) Read(ctx context.Context) (gateways.Table, error) {
	t, err := s.device.read(ctx)
	if err != nil {
		return gateways.Table{}, s.secrets.scrub(err)
	}
	return t, nil
}

// Close implements gateways.Source.
func (s *Source) Close() error { return s.device.over.close() }

// hostPort adds the usual port to an address without one.
func hostPort(address, port string) string {
	if host, p, err := net.SplitHostPort(address); err == nil {
		return net.JoinHostPort(host, p)
	}
	return net.JoinHostPort(strings.Trim(address, "[]"), port)
}
