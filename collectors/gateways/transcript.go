package gateways

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
)

// A Recorder is a Source that can record what its gateway sent, for a bug report.
type Recorder interface {
	Source
	// Record reads once, as Read does, and returns requests and answers without anything that
	// identifies the owner of the gateway. The transcript is useful also where reading failed.
	Record(ctx context.Context) (Transcript, error)
}

// A Transcript is one reading's requests and answers, which can replace the gateway.
type Transcript struct {
	// Type is the type of the gateway, as in the configuration.
	Type      string
	Exchanges []Exchange
}

// An Exchange is one request and its answer, or why there is no answer.
type Exchange struct {
	Request, Response, Error string
}

// Each line of the file starts with its kind: a request, a line of an answer, or an error.
const (
	transcriptHeader = "# ipsec_path_exporter transcript, version 1, type "
	markRequest      = "> "
	markResponse     = "| "
	markError        = "! "
)

const maxTranscriptLine = 1 << 20

// WriteTo writes the transcript as text. It implements io.WriterTo.
func (t *Transcript) WriteTo(w io.Writer) (int64, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s%s\n# Addresses, names, keys and serial numbers are replaced. Read it before you pass it on.\n", transcriptHeader, t.Type)
	for _, e := range t.Exchanges {
		fmt.Fprintf(&b, "%s%s\n", markRequest, oneLine(e.Request))
		for line := range strings.Lines(e.Response) {
			fmt.Fprintf(&b, "%s%s\n", markResponse, oneLine(line))
		}
		if e.Error != "" {
			fmt.Fprintf(&b, "%s%s\n", markError, oneLine(e.Error))
		}
	}
	return b.WriteTo(w)
}

// oneLine keeps line breaks of a device out of the file.
func oneLine(s string) string {
	return strings.NewReplacer("\r", "", "\n", " ").Replace(strings.TrimRight(s, "\r\n"))
}

// ReadTranscript reads what WriteTo wrote, for tests that replay it.
func ReadTranscript(r io.Reader) (Transcript, error) {
	var t Transcript
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxTranscriptLine)
	for n := 1; s.Scan(); n++ {
		line := s.Text()
		if n == 1 {
			kind, ok := strings.CutPrefix(line, transcriptHeader)
			if !ok {
				return Transcript{}, fmt.Errorf("line 1: a transcript starts with %q", transcriptHeader)
			}
			t.Type = kind
			continue
		}
		if strings.HasPrefix(line, "#") || line == "" {
			continue
		}
		if err := t.add(line); err != nil {
			return Transcript{}, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := s.Err(); err != nil {
		return Transcript{}, fmt.Errorf("reading a transcript: %w", err)
	}
	if t.Type == "" {
		return Transcript{}, fmt.Errorf("a transcript starts with %q", transcriptHeader)
	}
	return t, nil
}

func (t *Transcript) add(line string) error {
	if len(line) < len(markRequest) {
		line += " "
	}
	mark, text := line[:2], line[2:]
	if mark == markRequest {
		t.Exchanges = append(t.Exchanges, Exchange{Request: text})
		return nil
	}
	if len(t.Exchanges) == 0 {
		return fmt.Errorf("%q comes before any request", mark)
	}
	e := &t.Exchanges[len(t.Exchanges)-1]
	switch mark {
	case markResponse:
		e.Response += text + "\n"
	case markError:
		e.Error = text
	default:
		return fmt.Errorf("unknown mark %q", mark)
	}
	return nil
}
