package ciscoasa

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"ipsec_path_exporter/collectors/gateways"
)

// Record implements gateways.Recorder.
func (s *Source) Record(ctx context.Context) (gateways.Transcript, error) {
	tape := &recording{over: s.device.over}
	device := device{over: tape, expected: s.device.expected, clean: s.secrets.clean} // It asks for everything again, the version too.
	_, err := device.read(ctx)
	if err != nil {
		err = s.secrets.scrub(err)
	}
	secrets := append(s.secrets.known(), s.secrets.config.Username)
	kind := cmp.Or(device.platform, device.expected).typeName()
	return gateways.Transcript{Type: kind, Exchanges: redact(tape.exchanges, secrets)}, err
}

type recording struct {
	over      transport
	exchanges []gateways.Exchange
}

func (r *recording) run(ctx context.Context, command string) (string, error) {
	out, err := r.over.run(ctx, command)
	e := gateways.Exchange{Request: command, Response: strings.Join(slices.Collect(screen(out)), "\n")}
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

// versionLine matches the lines of `show version` that do not identify the device.
var versionLine = regexp.MustCompile(`^Cisco (?:Adaptive|PIX|IOS)|^Model +: Cisco `)

var freeText = regexp.MustCompile(`^(\s*Desc: ).*$`)

// vocabulary returns words that appear in places of names and have a meaning of their own.
func vocabulary() []string {
	return []string{
		"none", "n/a", "unknown", "user", "l2l", "permit", "deny", "any", "host", "ip", "tunnel", "transport", "outside", "inside", "dmz",
		"initiator", "responder", "yes", "no", "active", "ike", "ikev1", "ikev2", "ipsec", "esp", "ah", "cisco", "local", "remote", "port",
	}
}

// redact replaces everything that identifies the owner of the device. Names are collected first: a
// name may appear in one output before another output shows that it is one.
func redact(exchanges []gateways.Exchange, secrets []string) []gateways.Exchange {
	r := gateways.NewRedactor(secrets, vocabulary())
	var lines [][]string
	for _, e := range exchanges {
		var kept []string
		for l := range strings.SplitSeq(e.Response, "\n") {
			if e.Request == "show version" && !versionLine.MatchString(l) {
				continue
			}
			l = freeText.ReplaceAllString(l, "${1}text")
			kept = append(kept, l)
			for _, n := range named {
				for _, m := range n.FindAllStringSubmatch(l, -1) {
					r.Name(strings.TrimRight(m[1], ")},"))
				}
			}
		}
		lines = append(lines, kept)
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

// Replay returns a source that answers from a transcript, for tests.
func Replay(t *gateways.Transcript) (gateways.Source, error) {
	expected := platformOf(t.Type)
	if expected == platformUnknown {
		return nil, fmt.Errorf("a transcript of type %q is not of a Cisco device", t.Type)
	}
	answers := tape{}
	for _, e := range t.Exchanges {
		answers[e.Request] = e
	}
	return &Source{device: device{expected: expected, over: answers}, secrets: &vault{config: &Config{}}}, nil
}

// tape is a transport that answers from a transcript.
type tape map[string]gateways.Exchange

func (t tape) run(ctx context.Context, command string) (string, error) {
	e, ok := t[command]
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
