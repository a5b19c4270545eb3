package ciscoasa

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// What a session may take. A hub with a thousand tunnels prints some megabytes.
const (
	maxOutput = 32 << 20
	// maxLines is several times what a hub of ten thousand tunnels prints.
	maxLines = 2 << 20
	// settle is how long nothing may follow a prompt: until then it may be the beginning of a line
	// that only looks like one.
	settle = 50 * time.Millisecond
	// settleUnknown is the same for a prompt that is not known yet, below the banners of a login.
	settleUnknown = 300 * time.Millisecond
)

// errEnded is a session that the device has ended.
var errEnded = errors.New("the device ended the session")

// Prompts: "host>", "host/ctx#", "host(config)#", and of FTD only ">".
var (
	anyPrompt      = regexp.MustCompile(`^[\w./:()\[\]+@-]*[>#]$`)
	passwordPrompt = regexp.MustCompile(`(?i)^(?:.* )?password:$`)
	usernamePrompt = regexp.MustCompile(`(?i)^(?:.* )?user ?name:$`)
	pagerPrompt    = regexp.MustCompile(`^(?:<--- More --->|-- ?More ?--)$`)
)

// A shell is one interactive session: it sends a line, then waits for the prompt.
type shell struct {
	client *ssh.Client
	input  io.Writer
	output chan []byte // closed when the device has ended the session
	quit   chan struct{}
	end    func()
	reader sync.WaitGroup

	host string    // the prompt without its last character
	used time.Time // when the last command ended
}

// openShell opens a shell. A wide terminal keeps lines whole on devices that respect it.
func openShell(client *ssh.Client) (*shell, error) {
	session, err := client.NewSession()
	if err != nil {
		return nil, fmt.Errorf("opening a session: %w", err)
	}
	if err := session.RequestPty("vt100", 512, 511, ssh.TerminalModes{ssh.ECHO: 0}); err != nil {
		return nil, fmt.Errorf("asking for a terminal: %w", err)
	}
	input, err := session.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := session.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := session.Shell(); err != nil {
		return nil, fmt.Errorf("opening a shell: %w", err)
	}
	sh := &shell{client: client, input: input, output: make(chan []byte), quit: make(chan struct{})}
	sh.end = sync.OnceFunc(func() { close(sh.quit) })
	sh.reader.Go(func() { sh.pump(output) })
	return sh, nil
}

// pump hands on what the device sends until it ends the session, or close.
func (sh *shell) pump(from io.Reader) {
	defer close(sh.output)
	for {
		b := make([]byte, 32<<10)
		n, err := from.Read(b)
		if n > 0 {
			select {
			case sh.output <- b[:n]:
			case <-sh.quit:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (sh *shell) close() {
	sh.end()
	_ = sh.client.Close() // It may have ended by itself.
	sh.reader.Wait()
}

func (sh *shell) typed(line string) error {
	if _, err := io.WriteString(sh.input, line+"\n"); err != nil {
		return fmt.Errorf("%w (%w)", errEnded, err)
	}
	return nil
}

// wait reads until the last line is one that ends the output, and nothing follows it for a while.
// The pager is answered.
func (sh *shell) wait(ctx context.Context, pause time.Duration, ends func(line string) bool) (output, last string, err error) {
	var all []byte
	paged := 0 // up to where pages were asked for
	quiet := time.NewTimer(time.Hour)
	defer quiet.Stop()
	for {
		quiet.Stop()
		if line := lastLine(all[paged:]); pagerPrompt.MatchString(line) {
			paged = len(all)
			if _, err := io.WriteString(sh.input, " "); err != nil {
				return "", "", fmt.Errorf("%w (%w)", errEnded, err)
			}
		} else if ends(line) {
			last = line
			quiet.Reset(pause)
		}
		select {
		case <-ctx.Done():
			return "", "", fmt.Errorf("waiting for an answer: %w", ctx.Err())
		case <-quiet.C:
			return string(all), last, nil
		case b, ok := <-sh.output:
			if !ok {
				return "", "", errEnded
			}
			if all = append(all, b...); len(all) > maxOutput {
				return "", "", fmt.Errorf("the device answers with more than %d MiB", maxOutput>>20)
			}
		}
	}
}

// lastLine is the line that the cursor is in.
func lastLine(b []byte) string {
	const most = 512
	tail := string(b[max(0, len(b)-most):])
	tail = tail[strings.LastIndexByte(tail, '\n')+1:]
	lines := slices.Collect(screen(tail))
	if len(lines) == 0 {
		return ""
	}
	return strings.TrimSpace(lines[len(lines)-1])
}

func (sh *shell) prompt(line string) bool { return line == sh.host+">" || line == sh.host+"#" }

// command runs one command and returns what the device answers.
func (sh *shell) command(ctx context.Context, command string) (string, error) {
	defer func() { sh.used = time.Now() }()
	// Writing waits too, where the device takes nothing any more, and knows no contexts.
	stop := context.AfterFunc(ctx, func() { _ = sh.client.Close() })
	defer stop()
	if err := sh.typed(command); err != nil {
		return "", err
	}
	raw, _, err := sh.wait(ctx, settle, sh.prompt)
	if err != nil {
		return "", err
	}
	return strip(raw, command), nil
}

// strip removes the echo of the command and the prompt that ends the answer.
func strip(raw, command string) string {
	end := strings.LastIndexByte(raw, '\n')
	if end < 0 {
		return ""
	}
	raw = raw[:end+1]
	first, rest, _ := strings.Cut(raw, "\n")
	lines := slices.Collect(screen(first))
	if len(lines) == 0 {
		return raw
	}
	// A line that is too long is scrolled: "$" and its end are left of it.
	_, scrolled, wide := strings.Cut(lines[0], "$")
	if strings.Contains(lines[0], command) || wide && strings.HasSuffix(command, strings.TrimSpace(scrolled)) {
		return rest
	}
	return raw
}

// prepare brings a new session to the state in which commands can run. Output of the device on the
// way is never part of an error, because the device may repeat what was typed.
func (t *sshTransport) prepare(ctx context.Context, sh *shell, s secrets) error {
	_, prompt, err := sh.wait(ctx, settleUnknown, anyPrompt.MatchString)
	if err != nil {
		return fmt.Errorf("waiting for the prompt: %w", err)
	}
	sh.host = prompt[:len(prompt)-1]
	privileged := strings.HasSuffix(prompt, "#")
	if !privileged && sh.host != "" && (t.config.EnableLogin || t.config.EnablePasswordFile != "") {
		if err := t.enable(ctx, sh, s); err != nil {
			return err
		}
		privileged = true
	}
	if t.config.Context != "" {
		if err := t.changeTo(ctx, sh); err != nil {
			return err
		}
	}
	switch {
	case t.ios:
		_, err = sh.command(ctx, "terminal length 0")
	case privileged: // Else it is refused, and the pager is answered page by page.
		_, err = sh.command(ctx, "terminal pager 0")
	}
	return err
}

func (t *sshTransport) enable(ctx context.Context, sh *shell, s secrets) error {
	command, secret := "enable", s.enable
	switch {
	case t.config.EnableLogin:
		command, secret = "login", s.password
	case t.config.EnableLevel > 0:
		command = fmt.Sprintf("enable %d", t.config.EnableLevel)
	}
	asked := func(line string) bool {
		return passwordPrompt.MatchString(line) || usernamePrompt.MatchString(line) || sh.prompt(line)
	}
	line := command
	sent := false
	for {
		if err := sh.typed(line); err != nil {
			return err
		}
		_, last, err := sh.wait(ctx, settle, asked)
		switch {
		case err != nil:
			return fmt.Errorf("after %q: %w", command, err)
		case last == sh.host+"#":
			return nil
		case usernamePrompt.MatchString(last) && !sent:
			line = t.config.Username
		case passwordPrompt.MatchString(last) && !sent:
			line, sent = secret, true
		case sent:
			return t.vault.refuse(s, fmt.Sprintf("%q was not accepted", command))
		default:
			return fmt.Errorf("the device does not know %q", command)
		}
	}
}

// changeTo enters a context, whose name becomes part of the prompt.
func (t *sshTransport) changeTo(ctx context.Context, sh *shell) error {
	if err := sh.typed("changeto context " + t.config.Context); err != nil {
		return err
	}
	raw, prompt, err := sh.wait(ctx, settleUnknown, anyPrompt.MatchString)
	if err != nil {
		return fmt.Errorf("changing to context %s: %w", t.config.Context, err)
	}
	if reply := refused(answerLines(ctx, strip(raw, "changeto context "+t.config.Context))); reply != "" {
		return fmt.Errorf("context %s cannot be entered: %q", t.config.Context, shorten(reply))
	}
	sh.host = prompt[:len(prompt)-1]
	return nil
}
