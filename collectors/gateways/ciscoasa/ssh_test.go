package ciscoasa

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/crypto/ssh"

	"ipsec_path_exporter/collectors/gateways"
)

// open makes a source that is closed with the test.
func open(t *testing.T, c Config) *Source {
	t.Helper()
	s := New(c)
	t.Cleanup(func() { s.Close() })
	return s
}

// read reads once, within a time that is never needed.
func read(t *testing.T, s gateways.Source) (gateways.Table, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	table, err := s.Read(ctx)
	leaks(t, err)
	return table, err
}

// leaks fails if an error shows a secret.
func leaks(t *testing.T, err error) {
	t.Helper()
	if err != nil && strings.Contains(err.Error(), "PLANTED") {
		t.Errorf("an error shows a secret: %v", err)
	}
}

// checkHub compares with what asaAnswers say.
func checkHub(t *testing.T, got *gateways.Table) {
	t.Helper()
	up, stuck, other := netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("203.0.113.20"), netip.MustParseAddr("198.51.100.40")
	want := []gateways.IKESA{
		{Peer: gateways.Identity{Address: up, Group: "203.0.113.10"}, Version: 1, State: gateways.Established, VendorState: "MM_ACTIVE"},
		{Peer: gateways.Identity{Address: stuck}, Version: 1, State: gateways.ModeCfg, VendorState: "AM_TM_INIT_MODECFG_V6H"},
		{Key: "tunnel 73491231", Peer: gateways.Identity{Address: other}, Version: 2, State: gateways.Established, VendorState: "READY", Initiator: true},
	}
	ignore := cmpopts.IgnoreFields(gateways.IKESA{}, "Established")
	if diff := cmp.Diff(want, got.IKE, ignore, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	if age := time.Since(got.IKE[0].Established); age < 400*time.Second || age > 440*time.Second || !got.IKE[1].Established.IsZero() {
		t.Errorf("established %s ago; the one that is not, at %v", age, got.IKE[1].Established)
	}
	if len(got.Children) != 2 || got.Unparsed != 0 || got.Info != (gateways.Info{Type: "cisco_asa", Version: "9.8(4)10"}) {
		t.Errorf("%d children, %d lines are not understood, %+v", len(got.Children), got.Unparsed, got.Info)
	}
	c := got.Children[0]
	if c.State != gateways.Installed || c.PathMTU != 1500 || c.Overhead != 82 || c.NATT != gateways.Yes ||
		c.Out.Packets != gateways.Counted(15) || c.In.Packets != gateways.Counted(3) || c.Peer.Address != up {
		t.Errorf("child %+v", c)
	}
	flow := gateways.Flow{
		Key: "session 4711", Peer: gateways.Identity{Address: up, Group: "203.0.113.10"},
		In: gateways.Traffic{Bytes: gateways.Counted(300)}, Out: gateways.Traffic{Bytes: gateways.Counted(1500)},
	}
	if diff := cmp.Diff([]gateways.Flow{flow}, got.Flows, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	sums := map[string]uint64{}
	for _, n := range got.Counters {
		sums[n.Kind] += n.Value
	}
	wantSums := map[string]uint64{
		"pmtu_received": 4, "pmtu_sent": 10, "pre_fragmentation_failed": 2, "decapsulated_fragments": 2, "send_errors": 0, "receive_errors": 0,
		"fragment_reassembly_timeout": 37, "fragment_reassembly_failed": 40, "fragment_overflow": 1,
		"ike_in_dropped": 925, "ike_initiator_failed": 4, "ike_responder_failed": 5,
	}
	if diff := cmp.Diff(wantSums, sums); diff != "" {
		t.Error(diff)
	}
}

func TestSSH(t *testing.T) {
	for name, c := range map[string]struct {
		device func(*fakeASA)
		config func(*Config)
	}{
		"enable":               {},
		"enable 5":             {func(f *fakeASA) { f.enable = "enable 5" }, func(c *Config) { c.EnableLevel = 5 }},
		"login":                {func(f *fakeASA) { f.enable = "login" }, func(c *Config) { c.EnableLogin, c.EnablePasswordFile = true, "" }},
		"auto-enable":          {func(f *fakeASA) { f.level, f.enable = 15, "" }, nil},
		"keyboard-interactive": {func(f *fakeASA) { f.keyboard = true }, nil},
		"context":              {nil, func(c *Config) { c.Context = "blue" }},
		"failover prompt":      {func(f *fakeASA) { f.hostname = "branch/pri/act" }, nil},
		"line ends":            {func(f *fakeASA) { f.newline = "\r\r\n" }, nil},
		"other line ends":      {func(f *fakeASA) { f.newline = "\n\r" }, nil},
		"torn output":          {func(f *fakeASA) { f.torn = 7 }, nil},
		"pager":                {func(f *fakeASA) { f.page, f.level = 5, 15; f.enable = "terminal pager 0" }, func(c *Config) { c.EnablePasswordFile = "" }},
		"no banner":            {func(f *fakeASA) { f.banner = "" }, nil},
		"log messages": {func(f *fakeASA) {
			a := f.answers["show crypto isakmp sa detail"]
			f.answers["show crypto isakmp sa detail"] = strings.Replace(a, "    Type", "%ASA-6-602103: IPSEC: Received an ICMP Destination Unreachable\n    Type", 1)
		}, nil},
		"FTD": {func(f *fakeASA) { f.hostname, f.page = "", 24 }, nil},
		"legacy": {
			func(f *fakeASA) {
				f.algorithm = ssh.Config{KeyExchanges: []string{"diffie-hellman-group1-sha1"}, Ciphers: []string{"3des-cbc"}}
			},
			func(c *Config) { c.LegacyAlgorithms = true },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake()
			if c.device != nil {
				c.device(f)
			}
			// A device on which the pager cannot be turned off.
			if f.enable == "terminal pager 0" {
				f.enable = ""
				f.answers["terminal pager 0"] = "ERROR: Command authorization failed\n"
			}
			f.listen(t)
			config := f.config(t)
			if c.config != nil {
				c.config(&config)
			}
			s := open(t, config)
			for range 2 {
				table, err := read(t, s)
				if err != nil {
					t.Fatal(err)
				}
				checkHub(t, &table)
			}
			_, commands, sessions := f.seen()
			if sessions != 1 || f.most != 1 {
				t.Errorf("%d sessions, %d commands at a time", sessions, f.most)
			}
			for _, c := range commands {
				if !strings.HasPrefix(c, "show ") && !slices.Contains([]string{"enable", "enable 5", "login", "terminal pager 0", "changeto context blue"}, c) {
					t.Errorf("%q was typed", c)
				}
			}
			if n := strings.Count(strings.Join(commands, "\n"), "show version"); n != 1 {
				t.Errorf("the version was asked for %d times", n)
			}
			if n := strings.Count(strings.Join(commands, "\n")+"\n", "show crypto ipsec stats\n"); n != 1 {
				t.Errorf("a command that the device does not know was sent %d times", n)
			}
		})
	}
}

func TestRefusedLoginIsNotTriedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		device func(*fakeASA)
		enable bool // the wrong password is that of enable
	}{
		"password":             {},
		"keyboard-interactive": {device: func(f *fakeASA) { f.keyboard = true }},
		"both methods":         {device: func(f *fakeASA) { f.both = true }},
		"enable":               {enable: true},
		"enable with echo":     {device: func(f *fakeASA) { f.repeats = true }, enable: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake()
			if c.device != nil {
				c.device(f)
			}
			f.listen(t)
			config := f.config(t)
			if c.enable {
				config.EnablePasswordFile = secretFile(t, badPassword)
			} else {
				config.PasswordFile = secretFile(t, badPassword)
			}
			s := open(t, config)
			for range 3 {
				if _, err := read(t, s); !errors.Is(err, ErrLogin) {
					t.Errorf("error %v", err)
				}
			}
			attempts, _, _ := f.seen()
			if n := strings.Count(strings.Join(attempts, " "), badPassword); n != 1 {
				t.Errorf("a wrong password was sent %d times", n)
			}
			// Corrected files are used at once.
			for _, file := range []struct{ name, secret string }{{config.PasswordFile, goodPassword}, {config.EnablePasswordFile, goodEnable}} {
				if err := os.WriteFile(file.name, []byte(file.secret), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := read(t, s); err != nil {
				t.Errorf("after the password was corrected: %v", err)
			}
		})
	}
}

func TestHostKeys(t *testing.T) {
	f := newFake()
	f.listen(t)
	for name, c := range map[string]struct {
		known func() string
		want  string
	}{
		"changed": {func() string { f.trust(t, newKey(t).PublicKey()); return f.known }, "host key has changed"},
		"unknown": {func() string { return secretFile(t, "# nobody") }, "not in the known hosts file"},
		"no file": {func() string { return f.known + ".missing" }, "reading known hosts"},
	} {
		config := f.config(t)
		config.KnownHostsFile = c.known()
		if _, err := read(t, open(t, config)); err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrLogin) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
	if attempts, _, _ := f.seen(); len(attempts) != 0 {
		t.Errorf("the password was given to a stranger %d times", len(attempts))
	}
}

func TestLegacyAlgorithmsOnlyWhenAskedFor(t *testing.T) {
	f := newFake()
	f.algorithm = ssh.Config{KeyExchanges: []string{"diffie-hellman-group1-sha1"}, Ciphers: []string{"aes128-cbc"}}
	f.listen(t)
	_, err := read(t, open(t, f.config(t)))
	if err == nil || !strings.Contains(err.Error(), "no common algorithm for key exchange") {
		t.Errorf("error %v", err)
	}
}

func TestBrokenSessions(t *testing.T) {
	t.Run("ends in the middle of an answer", func(t *testing.T) {
		t.Parallel()
		f := newFake()
		f.breaks = "show crypto ipsec sa"
		f.listen(t)
		s := open(t, f.config(t))
		if _, err := read(t, s); !errors.Is(err, errEnded) {
			t.Errorf("error %v", err)
		}
		if attempts, _, _ := f.seen(); len(attempts) != 2 {
			t.Errorf("passwords were sent %d times", len(attempts))
		}
	})
	t.Run("hangs", func(t *testing.T) {
		t.Parallel()
		f := newFake()
		f.hangs = "show crypto ipsec sa"
		f.listen(t)
		s := open(t, f.config(t))
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if _, err := s.Read(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		f.mu.Lock()
		f.hangs = ""
		f.mu.Unlock()
		if table, err := read(t, s); err != nil {
			t.Errorf("after it answers again: %v", err)
		} else {
			checkHub(t, &table)
		}
	})
	t.Run("closed while it reads", func(t *testing.T) {
		t.Parallel()
		f := newFake()
		f.hangs = "show crypto ipsec sa"
		f.listen(t)
		s := open(t, f.config(t))
		time.AfterFunc(2*time.Second, func() { s.Close() })
		if _, err := read(t, s); !errors.Is(err, context.Canceled) && !errors.Is(err, errEnded) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("ended by the device while idle", func(t *testing.T) {
		t.Parallel()
		f := newFake()
		f.listen(t)
		s := open(t, f.config(t))
		if _, err := read(t, s); err != nil {
			t.Fatal(err)
		}
		f.hangUp()
		over, _ := s.device.over.(*sshTransport)
		over.shell.used = time.Now().Add(-time.Minute)
		if table, err := read(t, s); err != nil {
			t.Errorf("error %v", err)
		} else {
			checkHub(t, &table)
		}
		if _, _, sessions := f.seen(); sessions != 2 {
			t.Errorf("%d sessions", sessions)
		}
	})
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		f := newFake()
		f.listen(t)
		config := f.config(t)
		config.Address = "127.0.0.1:1"
		if _, err := read(t, open(t, config)); err == nil || errors.Is(err, ErrLogin) {
			t.Errorf("error %v", err)
		}
	})
}

func TestContextThatDoesNotExist(t *testing.T) {
	f := newFake()
	f.listen(t)
	config := f.config(t)
	config.Context = "green"
	if _, err := read(t, open(t, config)); err == nil || !strings.Contains(err.Error(), "context green cannot be entered") {
		t.Errorf("error %v", err)
	}
}

// A device that repeats its input must not make us repeat it.
func TestSecretsInAnswers(t *testing.T) {
	f := newFake()
	f.repeats = true
	f.answers = map[string]string{"show crypto isakmp sa detail": "ERROR: % Invalid " + goodPassword + "\n", "show crypto ipsec sa": goodEnable + "\n"}
	f.listen(t)
	s := open(t, f.config(t))
	if _, err := read(t, s); err == nil {
		t.Error("an answer that says nothing about SAs is taken for a table")
	}
	transcript, err := s.Record(t.Context())
	leaks(t, err)
	var b strings.Builder
	if _, err := transcript.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "PLANTED") || !strings.Contains(b.String(), "show crypto isakmp sa detail") {
		t.Errorf("transcript:\n%s", &b)
	}
}

// TestHangAfterLogin: neither a device that takes the password and nothing else, nor one that
// answers no request, is waited for.
func TestHangAfterLogin(t *testing.T) {
	for name, hang := range map[string]func(*fakeASA){"no channel": func(f *fakeASA) { f.mute = true }, "no terminal": func(f *fakeASA) { f.stalls = true }} {
		t.Run(name, func(t *testing.T) {
			device := newFake()
			hang(device)
			device.listen(t)
			s := open(t, device.config(t))
			for range 2 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				ended := make(chan error, 1)
				go func() {
					_, err := s.Read(ctx)
					ended <- err
				}()
				select {
				case err := <-ended:
					if leaks(t, err); !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("%v", err)
					}
				case <-time.After(10 * time.Second):
					t.Error("it is still waited for")
					device.hangUp()
					<-ended
				}
				cancel()
			}
			if attempts, _, _ := device.seen(); len(attempts) != 2 {
				t.Errorf("%d attempts", len(attempts))
			}
		})
	}
}
