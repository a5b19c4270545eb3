package ciscoasa

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// errAgain stops the SSH library from trying the next method with a password that was just refused.
var errAgain = errors.New("the password is sent once only")

// idle is the time after which a closed session is opened again: devices end idle sessions.
const idle = 5 * time.Second

// sshTransport keeps one session open and runs one command at a time in it.
type sshTransport struct {
	config *Config
	vault  *vault
	ios    bool

	running sync.Mutex // held while a command runs

	mu     sync.Mutex
	shell  *shell
	cancel context.CancelFunc // of what runs
}

func (t *sshTransport) run(ctx context.Context, command string) (string, error) {
	t.running.Lock()
	defer t.running.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t.mu.Lock()
	t.cancel = cancel
	sh := t.shell
	t.mu.Unlock()
	if sh != nil {
		used := sh.used
		out, err := t.command(ctx, sh, command)
		if err == nil {
			return out, nil
		}
		if !errors.Is(err, errEnded) || time.Since(used) < idle {
			return "", err
		}
	}
	sh, err := t.connect(ctx)
	if err != nil {
		return "", err
	}
	t.mu.Lock()
	t.shell = sh
	t.mu.Unlock()
	return t.command(ctx, sh, command)
}

// command runs a command in a session, and drops the session after an error or a panic.
func (t *sshTransport) command(ctx context.Context, sh *shell, command string) (string, error) {
	done := false
	defer func() {
		if done {
			return
		}
		t.mu.Lock()
		if t.shell == sh {
			t.shell = nil
		}
		t.mu.Unlock()
		sh.close()
	}()
	out, err := sh.command(ctx, command)
	done = err == nil
	return out, err
}

func (t *sshTransport) close() error {
	t.mu.Lock()
	sh, cancel := t.shell, t.cancel
	t.shell = nil
	t.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	if sh != nil {
		sh.close()
	}
	return nil
}

func (t *sshTransport) connect(ctx context.Context) (*shell, error) {
	s, err := t.vault.open()
	if err != nil {
		return nil, err
	}
	client, err := t.login(ctx, s)
	if err != nil {
		return nil, err
	}
	// A device may accept the password and then not answer any more.
	stop := context.AfterFunc(ctx, func() { _ = client.Close() })
	defer stop()
	sh, err := openShell(client)
	if err != nil {
		_ = client.Close() // what matters is why
		if ctx.Err() != nil {
			err = fmt.Errorf("waiting for a shell: %w", ctx.Err())
		}
		return nil, err
	}
	if err := t.prepare(ctx, sh, s); err != nil {
		sh.close()
		return nil, err
	}
	t.vault.accept(s)
	return sh, nil
}

func (t *sshTransport) login(ctx context.Context, s secrets) (*ssh.Client, error) {
	address := hostPort(t.config.Address, "22")
	keys, err := trust(t.config.KnownHostsFile, address)
	if err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	// The library takes no context: closing the connection ends the handshake.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	once := &oncePassword{password: s.password}
	c, channels, requests, err := ssh.NewClientConn(conn, address, &ssh.ClientConfig{
		Config: t.config.algorithms(), User: t.config.Username, HostKeyCallback: keys.check, HostKeyAlgorithms: keys.algorithms,
		Auth: []ssh.AuthMethod{ssh.PasswordCallback(once.get), ssh.KeyboardInteractive(once.answer)},
	})
	switch {
	case err == nil:
		return ssh.NewClient(c, channels, requests), nil
	case ctx.Err() != nil:
		err = fmt.Errorf("logging in: %w", ctx.Err())
	case once.sent:
		err = t.vault.refuse(s, "user name or password is wrong, or the account is locked")
	}
	conn.Close()
	return nil, err
}

// oncePassword returns the password once, because a device counts each attempt by any method.
type oncePassword struct {
	password string
	sent     bool
}

func (p *oncePassword) get() (string, error) {
	if p.sent {
		return "", errAgain
	}
	p.sent = true
	return p.password, nil
}

// answer answers the questions of keyboard-interactive (RFC 4256, section 3.2): the one for the
// password is not echoed.
func (p *oncePassword) answer(_, _ string, questions []string, echos []bool) ([]string, error) {
	answers := make([]string, len(questions))
	for i := range questions {
		if echos[i] {
			return nil, errors.New("the device asks for more than the password")
		}
		var err error
		if answers[i], err = p.get(); err != nil {
			return nil, err
		}
	}
	return answers, nil
}
