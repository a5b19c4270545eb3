package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc64"
	"io"
	"strings"
	"time"
)

const (
	// version is the version of the records that this program writes. Records that an older program
	// would misread, or whose new fields it would lose, need a larger one.
	version = 1
	// maxRecord is larger than any line: the bounds of names and texts allow some 30 KiB.
	maxRecord = 64 << 10
	sumLength = 16
	// recordStart is how the JSON object of a record starts.
	recordStart = `{"v":`
)

// A record is one entry of the journal: the state of a peer or a change of its diagnoses.
type record struct {
	// Version comes first: it must be known even where the rest cannot be decoded.
	Version int `json:"v"`
	// Number counts the records of a file without gaps. In memory it is the order of changes.
	Number uint64  `json:"n"`
	Peer   string  `json:"peer"`
	State  *state  `json:"state,omitempty"`
	Change *Change `json:"change,omitempty"`
}

// state is what is stored of a peer other than its changes.
type state struct {
	Seen     time.Time `json:"seen"`
	Baseline *Baseline `json:"baseline,omitempty"`
}

// appendRecord appends a record with a number as a line.
//
//	LF  CRC-64 of the JSON, 16 hexadecimal digits  SP  JSON  LF
//
// JSON contains no line feed. Each record has line feeds of its own on both sides, so that damage
// to one of them does not join the record to its neighbour.
//
// CRC-64 (ECMA-182) detects every burst of up to 64 bits, which covers flipped bits and bytes, and
// misses other damage with probability 2^-64. A faster hash such as XXH64 guarantees nothing for
// small damage, and 32 bits are few for a file of 100,000 records that is checked at each start.
func appendRecord(b []byte, r record, number uint64) []byte {
	r.Version, r.Number = version, number
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)               // it would make some texts six times as long
	if err := e.Encode(&r); err != nil { // a time beyond the year 9999
		return b
	}
	body := bytes.TrimSuffix(text.Bytes(), []byte("\n"))
	b = append(append(append(b, '\n'), checksum(body)...), ' ')
	return append(append(b, body...), '\n')
}

func checksum(body []byte) string {
	return fmt.Sprintf("%0*x", sumLength, crc64.Checksum(body, crc64.MakeTable(crc64.ECMA)))
}

// damage is what is wrong with a journal.
type damage struct {
	// lost is the number of damaged, missing and invalid records, as far as the file shows.
	lost uint64
	// torn means that the last record is incomplete, as after a crash.
	torn bool
}

// A reader reads the records of a journal.
type reader struct {
	damage
	// last is the number of the last intact record, damaged the number of damaged lines behind it.
	last, damaged uint64
}

// read calls add for every intact and valid record. A newer version is ErrNewer.
func (r *reader) read(from io.Reader, add func(record)) error {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 2*maxRecord)
	lines.Split(splitLines)
	for lines.Scan() {
		line, whole := bytes.CutSuffix(lines.Bytes(), []byte("\n"))
		if len(line) == 0 {
			continue
		}
		body, intact := verify(line)
		switch {
		case intact:
			if err := r.record(body, add); err != nil {
				return err
			}
		case !whole && incomplete(line):
			r.torn = true
		default:
			r.damaged++
		}
	}
	r.lost += r.damaged
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	return nil
}

// record counts an intact record, and passes it on if it is valid.
func (r *reader) record(body []byte, add func(record)) error {
	var rec record
	err := json.Unmarshal(body, &rec) // the version is valid even with an error
	switch {
	case rec.Version > version:
		return ErrNewer
	case err != nil:
		r.damaged++
	case rec.Number <= r.last: // a failed write left it behind, and it was written again
	default:
		// Numbers count what is missing before the record, damaged lines included.
		r.lost += rec.Number - r.last - 1
		r.last, r.damaged = rec.Number, 0
		if rec.valid() {
			add(rec.clip())
		} else {
			r.lost++
		}
	}
	return nil
}

// splitLines is a bufio.SplitFunc for lines with their line feeds. It cuts what is longer than any
// record, so that the memory for reading is bounded.
func splitLines(data []byte, atEOF bool) (advance int, token []byte, err error) {
	switch i := bytes.IndexByte(data, '\n'); {
	case i >= 0:
		return i + 1, data[:i+1], nil
	case len(data) > maxRecord, atEOF && len(data) > 0:
		return len(data), data, nil
	}
	return 0, nil, nil
}

// verify returns the JSON of a line and reports whether it is intact.
func verify(line []byte) (body []byte, intact bool) {
	if len(line) <= sumLength || line[sumLength] != ' ' {
		return nil, false
	}
	body = line[sumLength+1:]
	return body, string(line[:sumLength]) == checksum(body)
}

// incomplete reports whether a line is the start of a record.
func incomplete(line []byte) bool {
	if len(line) > maxRecord {
		return false
	}
	sum, rest := line, ""
	if len(line) > sumLength {
		sum, rest = line[:sumLength], string(line[sumLength:])
	}
	const start = " " + recordStart
	return len(bytes.Trim(sum, "0123456789abcdef")) == 0 && strings.HasPrefix(rest, start[:min(len(start), len(rest))])
}

func (r *record) valid() bool {
	if r.Peer == "" || len(r.Peer) > maxName {
		return false
	}
	if r.Change != nil {
		return r.State == nil && r.Change.Diagnosis != ""
	}
	return r.State != nil && !r.State.Seen.IsZero()
}

// clip returns a valid record within the bounds, which may have been wider when it was written.
func (r record) clip() record {
	switch {
	case r.Change != nil:
		c := r.Change.clip()
		r.Change = &c
	case r.State.Baseline != nil:
		b := r.State.Baseline.clip()
		r.State.Baseline = &b
	}
	return r
}

// bytes returns the memory of a record.
func (r *record) bytes() int {
	if r.Change == nil {
		return peerOverhead + len(r.Peer) + r.State.Baseline.bytes()
	}
	n := changeOverhead + len(r.Peer) + len(r.Change.Diagnosis) + len(r.Change.Summary)
	for _, line := range r.Change.Evidence {
		n += lineOverhead + len(line)
	}
	return n
}
