package ciscoasa

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"ipsec_path_exporter/collectors/gateways"
)

// Record implements gateways.Recorder.
func (s *Source) Record(ctx context.Context) (gateways.Transcript, error) {
	tape := &recording{over: s.device.over}
	device := device{over: tape, expected: s.device.expected} // It asks for everything again, the version too.
	_, err := device.read(ctx)
	if err != nil {
		err = s.secrets.scrub(err)
	}
	secrets := append(s.secrets.known(), s.secrets.config.Username)
	return gateways.Transcript{Type: device.typeName(), Exchanges: redact(tape.exchanges, secrets)}, err
}

// typeName is the type of the configuration that fits what the device is.
func (d *device) typeName() string {
	if d.platform == platformUnknown {
		return d.expected.typeName()
	}
	return d.platform.typeName()
}

// recording is a transport that keeps what passes through it.
type recording struct {
	over      transport
	exchanges []gateways.Exchange
}

func (r *recording) run(ctx context.Context, command string) (string, error) {
	out, err := r.over.run(ctx, command)
	e := gateways.Exchange{Request: command, Response: strings.Join(screen(out), "\n")}
	if err != nil {
		e.Error = err.Error()
	}
	r.exchanges = append(r.exchanges, e)
	return out, err
}

func (r *recording) close() error { return r.over.close() }

// named finds names: the word after a label, in all outputs that are read.
var named = []*regexp.Regexp{
	regexp.MustCompile(`IKE Peer: *(\S+)`),
	regexp.MustCompile(`^\s*\d+\s+(\S+)\s+\S+\s+(?:Init|Resp)`),
	regexp.MustCompile(`(?i)\busername *: *(\S+)`),
	regexp.MustCompile(`(?:Connection|IP Addr|Group Policy|Tunnel Group|Public IP|Filter Name|Client Ver|VLAN Mapping) *: (?: *)(\S+)`),
	regexp.MustCompile(`(?:Group|Profile|Phase1_id|Desc|[Ii]nterface): *(\S+)`),
	regexp.MustCompile(`(?:Local|Remote) id: *(\S+)`),
	regexp.MustCompile(`Crypto map tag: *([^,\s]+)`),
	regexp.MustCompile(`crypto[- ]map: *(\S+)`),
	regexp.MustCompile(`access-list (\S+)`),
	regexp.MustCompile(`current_peer:? *([^,\s]+)`),
	regexp.MustCompile(`crypto endpt\.: *([^,/\s]+)`),
	regexp.MustCompile(`(?:local addr:?|idb) *([^,\s]+)`),
	regexp.MustCompile(`(?:protected vrf|fvrf|ivrf): *\(?(\w+)`),
	regexp.MustCompile(`\bby (\S+)$`),
}

// versionLine is what is kept of `show version`: the rest are names, serial numbers and licences.
var versionLine = regexp.MustCompile(`^Cisco (?:Adaptive|PIX|IOS)|^Model +: Cisco `)

// freeText are lines that people wrote.
var freeText = regexp.MustCompile(`^(\s*Desc: ).*$`)

// vocabulary are words that stand where names do, and mean something.
func vocabulary() []string {
	return []string{
		"none", "n/a", "unknown", "user", "l2l", "permit", "deny", "any", "host", "ip", "tunnel", "transport", "outside", "inside", "dmz",
		"initiator", "responder", "yes", "no", "active", "ike", "ikev1", "ikev2", "ipsec", "esp", "ah", "cisco", "local", "remote", "port",
	}
}

// redact replaces all that tells whose device it is. Names are collected first: one may stand in an output before the one
// that shows that it is a name.
func redact(exchanges []gateways.Exchange, secrets []string) []gateways.Exchange {
	r := gateways.NewRedactor(secrets, vocabulary())
	var lines [][]string
	for _, e := range exchanges {
		var kept []string
		for l := range strings.SplitSeq(e.Response, "\n") {
			if e.Request == "show version" && !versionLine.MatchString(l) {
				continue
			}
			kept = append(kept, freeText.ReplaceAllString(l, "${1}text"))
		}
		lines = append(lines, kept)
		for _, l := range kept {
			for _, n := range named {
				for _, m := range n.FindAllStringSubmatch(l, -1) {
					r.Name(strings.TrimRight(m[1], ")},"))
				}
			}
		}
	}
	out := make([]gateways.Exchange, len(exchanges))
	for i, e := range exchanges {
		text := strings.Join(lines[i], "\n")
		if e.Request != "show version" { // A version looks like an address.
			text = r.Text(text)
		}
		out[i] = gateways.Exchange{Request: e.Request, Response: text, Error: r.Text(e.Error)}
	}
	return out
}

// Replay makes a source that answers from a transcript, as a fixture.
func Replay(t *gateways.Transcript) (gateways.Source, error) {
	s := &replayed{device: device{expected: platformASA}}
	switch t.Type {
	case "cisco_asa":
	case "cisco_ios":
		s.device.expected = platformIOS
	default:
		return nil, fmt.Errorf("a transcript of type %q is not of a Cisco device", t.Type)
	}
	answers := map[string]gateways.Exchange{}
	for _, e := range t.Exchanges {
		answers[e.Request] = e
	}
	s.device.over = tape{answers}
	return s, nil
}

// replayed is a Source without a device.
type replayed struct{ device device }

// Read implements gateways.Source.
func (s *replayed) Read(ctx context.Context) (gateways.Table, error) { return s.device.read(ctx) }

// Close implements gateways.Source.
func (s *replayed) Close() error { return nil }

// tape is a transport that answers from a transcript.
type tape struct{ answers map[string]gateways.Exchange }

func (t tape) run(ctx context.Context, command string) (string, error) {
	e, ok := t.answers[command]
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case !ok:
		return "", fmt.Errorf("%w: %s is not in the transcript", errRefused, command)
	case e.Error != "" && strings.HasPrefix(e.Error, errRefused.Error()):
		return "", fmt.Errorf("%w%s", errRefused, strings.TrimPrefix(e.Error, errRefused.Error()))
	case e.Error != "":
		return "", errors.New(e.Error)
	}
	return e.Response, nil
}

func (t tape) close() error { return nil }
