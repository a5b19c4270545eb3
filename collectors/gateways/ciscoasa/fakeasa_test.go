package ciscoasa

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// What the fake device takes. They are looked for in everything that is shown.
const (
	goodPassword = "PLANTED-login-7f3a"
	goodEnable   = "PLANTED-enable-91bc"
	badPassword  = "PLANTED-wrong-55d0"
)

// fakeASA is a device with an SSH server. Fields are set before listen.
type fakeASA struct {
	hostname  string
	banner    string
	newline   string // how it ends lines
	answers   map[string]string
	level     int    // at which a login lands: 1 is ">", 15 is "#"
	enable    string // how it becomes privileged: "enable", "enable 5", "login"
	keyboard  bool   // authenticates by keyboard-interactive only
	both      bool   // offers both methods
	page      int    // lines before "<--- More --->", 0 for no pager
	torn      int    // bytes per write, 0 for whole lines
	mute      bool   // takes the password, and answers nothing after it
	stalls    bool   // opens a channel, and answers no request
	hangs     string // the command that is never answered
	breaks    string // the command in whose answer the connection ends
	repeats   bool   // repeats what it was sent: a bad device, or one with echo of everything
	algorithm ssh.Config
	key       ssh.Signer

	address string
	known   string // known_hosts file

	mu       sync.Mutex
	attempts []string // passwords of the login attempts
	sessions int
	commands []string
	conns    []net.Conn
	busy     int // commands that run at the same time
	most     int
}

// newFake is a device as one meets it most often.
func newFake() *fakeASA {
	return &fakeASA{hostname: "branch", newline: "\r\n", level: 1, enable: "enable", answers: asaAnswers(), banner: "Authorized use only #\r\nUnauthorized > access\r\n\r\n"}
}

func newKey(t *testing.T) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// listen starts the device, and ends it with the test.
func (f *fakeASA) listen(t *testing.T) {
	t.Helper()
	if f.key == nil {
		f.key = newKey(t)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.address = l.Addr().String()
	f.trust(t, f.key.PublicKey())
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.conns = append(f.conns, c)
			f.mu.Unlock()
			all.Go(func() { f.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		f.hangUp()
		all.Wait()
	})
}

// trust writes a known_hosts file with this key.
func (f *fakeASA) trust(t *testing.T, key ssh.PublicKey) {
	t.Helper()
	f.known = filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(f.known, []byte(knownhosts.Line([]string{f.address}, key)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// hangUp ends all connections.
func (f *fakeASA) hangUp() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.conns {
		c.Close()
	}
	f.conns = nil
}

func (f *fakeASA) serverConfig() *ssh.ServerConfig {
	try := func(password string) (*ssh.Permissions, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.attempts = append(f.attempts, password)
		if password != goodPassword {
			return nil, errors.New("denied")
		}
		return nil, nil //nolint:nilnil // The way of the library to say yes.
	}
	c := &ssh.ServerConfig{Config: f.algorithm}
	if !f.keyboard {
		c.PasswordCallback = func(_ ssh.ConnMetadata, p []byte) (*ssh.Permissions, error) { return try(string(p)) }
	}
	if f.keyboard || f.both {
		c.KeyboardInteractiveCallback = func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			for range 3 {
				answers, err := ask("", "", []string{"Password: "}, []bool{false})
				if err != nil {
					return nil, err
				}
				if p, err := try(answers[0]); err == nil {
					return p, nil
				}
			}
			return nil, errors.New("denied")
		}
	}
	c.AddHostKey(f.key)
	return c
}

func (f *fakeASA) serve(c net.Conn) {
	defer c.Close()
	conn, channels, requests, err := ssh.NewServerConn(c, f.serverConfig())
	if err != nil {
		return
	}
	defer conn.Close()
	go ssh.DiscardRequests(requests)
	if f.mute {
		_ = conn.Wait()
		return
	}
	n, ok := <-channels
	if !ok {
		return
	}
	ch, reqs, err := n.Accept()
	if err != nil {
		return
	}
	if f.stalls {
		_ = conn.Wait()
		return
	}
	go func() {
		for r := range reqs {
			_ = r.Reply(true, nil)
		}
	}()
	f.mu.Lock()
	f.sessions++
	f.mu.Unlock()
	(&fakeSession{f: f, ch: ch, conn: c, level: f.level, page: f.page}).run()
}

// fakeSession is a user at the prompt.
type fakeSession struct {
	f     *fakeASA
	ch    ssh.Channel
	conn  net.Conn
	level int
	page  int
	in    []byte
	ctx   string
}

func (s *fakeSession) prompt() string {
	host := s.f.hostname + s.ctx
	if s.level > 1 {
		return "\r" + host + "# "
	}
	return "\r" + host + "> "
}

// send writes with the device's idea of lines, and in pieces.
func (s *fakeSession) send(text string) bool {
	b := []byte(strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", s.f.newline))
	size := s.f.torn
	if size == 0 {
		size = len(b)
	}
	for piece := range slices.Chunk(b, max(1, size)) {
		if _, err := s.ch.Write(piece); err != nil {
			return false
		}
		if s.f.torn > 0 {
			time.Sleep(time.Millisecond)
		}
	}
	return true
}

// line reads one line, and shows it as it is typed.
func (s *fakeSession) line(echo bool) (string, bool) {
	for {
		if i := slices.Index(s.in, '\n'); i >= 0 {
			line := string(s.in[:i])
			s.in = s.in[i+1:]
			if echo {
				s.send(line + "\n")
			} else {
				s.send("\n")
			}
			return line, true
		}
		b := make([]byte, 256)
		n, err := s.ch.Read(b)
		if err != nil {
			return "", false
		}
		s.in = append(s.in, b[:n]...)
	}
}

func (s *fakeSession) run() {
	defer s.ch.Close()
	s.send(s.f.banner)
	for {
		if !s.send(s.prompt()) {
			return
		}
		line, ok := s.line(true)
		if !ok || !s.execute(line) {
			return
		}
	}
}

func (s *fakeSession) execute(line string) bool {
	f := s.f
	f.mu.Lock()
	f.commands = append(f.commands, line)
	f.busy++
	f.most = max(f.most, f.busy)
	hangs := f.hangs
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.busy--
		f.mu.Unlock()
	}()
	switch {
	case line == "":
	case line == hangs:
		_, _ = s.line(false)
		return false
	case line == f.enable:
		return s.raise(line)
	case line == "terminal pager 0" && s.level > 1:
		s.page = 0
	case strings.HasPrefix(line, "changeto context ") && s.level > 1:
		if name := strings.TrimPrefix(line, "changeto context "); name == "blue" {
			s.ctx = "/blue"
		} else {
			s.send("ERROR: Context " + name + " does not exist\n")
		}
	default:
		text, known := f.answers[line]
		if !known || s.level == 1 && strings.HasPrefix(line, "show crypto") && f.hostname != "" {
			text = "                ^\nERROR: % Invalid input detected at '^' marker.\n"
		}
		if f.repeats {
			text += strings.Join(f.attempts, " ") + "\n"
		}
		return s.show(text, line == f.breaks)
	}
	return true
}

// raise asks for the password of a higher level.
func (s *fakeSession) raise(command string) bool {
	want := goodEnable
	if command == "login" {
		want = goodPassword
		s.send("Username: ")
		if user, ok := s.line(true); !ok || user != "ipsecmon" {
			return ok
		}
	}
	for range 3 {
		s.send("Password: ")
		got, ok := s.line(s.f.repeats)
		s.f.mu.Lock()
		s.f.attempts = append(s.f.attempts, got)
		s.f.mu.Unlock()
		switch {
		case !ok:
			return false
		case got == want:
			s.level = 15
			return true
		}
		s.send("Invalid password\n")
	}
	s.send("Access denied.\n")
	return true
}

// show writes an answer page by page.
func (s *fakeSession) show(text string, breaks bool) bool {
	for i, l := range slices.Collect(strings.Lines(text)) {
		if s.page > 0 && i > 0 && i%s.page == 0 {
			s.send("<--- More --->")
			key := make([]byte, 1)
			if len(s.in) == 0 {
				if _, err := s.ch.Read(key); err != nil {
					return false
				}
			}
			if key[0] != ' ' {
				return true // Any other key ends the output.
			}
			if _, err := s.ch.Write([]byte("\r              \r")); err != nil {
				return false
			}
		}
		if breaks && i == 2 {
			s.conn.Close()
			return false
		}
		s.send(l)
	}
	return true
}

// seen returns what happened so far.
func (f *fakeASA) seen() (attempts, commands []string, sessions int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.attempts), slices.Clone(f.commands), f.sessions
}

// secretFile writes a secret to a file of its own.
func secretFile(t *testing.T, secret string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// config is how the fake device is reached.
func (f *fakeASA) config(t *testing.T) Config {
	t.Helper()
	return Config{
		Address: f.address, Username: "ipsecmon", KnownHostsFile: f.known,
		PasswordFile: secretFile(t, goodPassword), EnablePasswordFile: secretFile(t, goodEnable),
	}
}

// asaAnswers are a hub with one branch that is up, one that is stuck, and one that is a stranger.
func asaAnswers() map[string]string {
	return map[string]string{
		"show version": "\nCisco Adaptive Security Appliance Software Version 9.8(4)10\nFirepower Extensible Operating System Version 2.2(2.121)\n" +
			"\nbranch up 3 days 22 hours\nSerial Number: 9AKJ3WEXAMPLE\n",
		"show crypto isakmp sa detail": `
IKEv1 SAs:

   Active SA: 2
    Rekey SA: 0 (A tunnel will report 1 Active and 1 Rekey SA during rekey)
Total IKE SA: 2

1   IKE Peer: 203.0.113.10
    Type    : L2L             Role    : responder
    Rekey   : no              State   : MM_ACTIVE
    Encrypt : aes-256         Hash    : SHA
    Auth    : preshared       Lifetime: 86400
    Lifetime Remaining: 86000
2   IKE Peer: 203.0.113.20
    Type    : user            Role    : responder
    Rekey   : no              State   : AM_TM_INIT_MODECFG_V6H
    Encrypt : aes-256         Hash    : SHA
    Auth    : preshared       Lifetime: 86400
    Lifetime Remaining: 86380

IKEv2 SAs:

Session-id:12, Status:UP-ACTIVE, IKE count:1, CHILD count:1

Tunnel-id Local                                               Remote                                                  Status         Role
 73491231 192.0.2.1/500                                       198.51.100.40/500                                       READY    INITIATOR
      Encr: AES-CBC, keysize: 256, Hash: SHA256, DH Grp:14, Auth sign: PSK, Auth verify: PSK
      Life/Active Time: 86400/1040 sec
Child sa: local selector  10.1.0.0/0 - 10.1.0.255/65535
          remote selector 10.2.0.0/0 - 10.2.0.255/65535
          ESP spi in/out: 0x1b2c3d4e/0x5f60718a
`,
		"show crypto ipsec sa": "interface: outside\n" + asaEntry("203.0.113.10", "10.9.0.0", 15, 3) + asaEntry("198.51.100.40", "10.2.0.0", 7, 8),
		"show vpn-sessiondb l2l": `
Session Type: LAN-to-LAN

Connection   : 203.0.113.10
Index        : 4711                   IP Addr      : 203.0.113.10
Protocol     : IKEv1 IPsec
Bytes Tx     : 1500                   Bytes Rx     : 300
Login Time   : 02:03:37 CET Thu Dec 19 2024
Duration     : 0h:06m:40s
`,
		"show vpn-sessiondb ra-ikev1-ipsec": "\nINFO: There are presently no active sessions of the type specified\n",
		"show fragment": `Interface: outside
    Configuration: Size: 200, Chain: 24, Timeout: 5, Reassembly: virtual
    Run-time stats: Queue: 1, Full assembly: 12
    Drops: Size overflow: 1, Timeout: 37,
        Chain overflow: 0, Fragment queue threshold exceeded: 0,
        Small fragments: 2, Invalid IP len: 0
`,
		"show crypto isakmp stats": "\nGlobal IKE Statistics\n  Active Tunnels: 2\n  In Drop Packets: 925\n  Initiator Fails: 4\n  Responder Fails: 5\n",
	}
}

// asaEntry is one pair of selectors of `show crypto ipsec sa`.
func asaEntry(peer, net string, out, in int) string {
	return fmt.Sprintf(`    Crypto map tag: outside_map, seq num: 10, local addr: 192.0.2.1

      access-list acl-%[2]s extended permit ip 10.1.0.0 255.255.255.0 %[2]s 255.255.255.0
      local ident (addr/mask/prot/port): (10.1.0.0/255.255.255.0/0/0)
      remote ident (addr/mask/prot/port): (%[2]s/255.255.255.0/0/0)
      current_peer: %[1]s

      #pkts encaps: %[3]d, #pkts encrypt: %[3]d, #pkts digest: %[3]d
      #pkts decaps: %[4]d, #pkts decrypt: %[4]d, #pkts verify: %[4]d
      #pkts compressed: 0, #pkts decompressed: 0
      #pkts not compressed: 15, #pkts comp failed: 0, #pkts decomp failed: 0
      #pre-frag successes: 2, #pre-frag failures: 1, #fragments created: 10
      #PMTUs sent: 5, #PMTUs rcvd: 2, #decapsulated frgs needing reassembly: 1
      #send errors: 0, #recv errors: 0

      local crypto endpt.: 192.0.2.1/4500, remote crypto endpt.: %[1]s/4500
      path mtu 1500, ipsec overhead 82(52), media mtu 1500
      PMTU time remaining (sec): 0, DF policy: copy-df
      ICMP error validation: disabled, TFC packets: disabled
      current outbound spi: 5F60718A
      current inbound spi : 1B2C3D4E

    inbound esp sas:
      spi: 0x1B2C3D4E (455884110)
         SA State: active
         transform: esp-aes-256 esp-sha-hmac no compression
         in use settings ={L2L, Tunnel,  NAT-T-Encaps, IKEv1, }
         slot: 0, conn_id: 4096, crypto-map: outside_map
         sa timing: remaining key lifetime (kB/sec): (4373999/28391)
         IV size: 16 bytes
         replay detection support: Y
         Anti replay bitmap:
          0x00000000 0x00000FFF
    outbound esp sas:
      spi: 0x5F60718A (1600156042)
         SA State: active
         transform: esp-aes-256 esp-sha-hmac no compression
         in use settings ={L2L, Tunnel,  NAT-T-Encaps, IKEv1, }
         slot: 0, conn_id: 4096, crypto-map: outside_map
         sa timing: remaining key lifetime (kB/sec): (4373999/28391)
         IV size: 16 bytes
         replay detection support: Y
         Anti replay bitmap:
          0x00000000 0x00000001
`, peer, net, out, in)
}
