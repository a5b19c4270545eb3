package evidence

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// What the file consists of: three buckets of JSON values.
const (
	bucketMeta    = "meta"    // formatKey -> format
	bucketPeers   = "peers"   // name -> storedPeer
	bucketChanges = "changes" // number, 8 bytes, the largest first -> storedChange
	formatKey     = "format"
	// format is the version of all this. A file of a larger one is left alone.
	format = "1"
)

// errValue is a stored value that means nothing.
var errValue = errors.New("stored value")

// storedPeer is what is stored of a peer.
type storedPeer struct {
	Seen     time.Time `json:"seen"`
	Baseline *Baseline `json:"baseline,omitempty"`
}

// storedChange is what is stored of a change.
type storedChange struct {
	Peer string `json:"peer"`
	Change
}

func changeKey(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

func encodePeer(p *past) []byte { return encodeValue(storedPeer{p.seen.Round(0).UTC(), p.baseline}) }

func encodeChange(peer string, c *Change) []byte { return encodeValue(storedChange{peer, *c}) }

// encodeValue cannot fail but for a time beyond the year 9999, which becomes a value that is ignored when it is read.
func encodeValue(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return []byte("{}")
	}
	return b
}

func decodePeer(key, value []byte) (storedPeer, error) {
	var p storedPeer
	if err := json.Unmarshal(value, &p); err != nil {
		return p, fmt.Errorf("%w: %w", errValue, err)
	}
	if len(key) == 0 || len(key) > maxName || p.Seen.IsZero() {
		return p, fmt.Errorf("%w: no peer", errValue)
	}
	if p.Baseline != nil {
		b := p.Baseline.clip()
		p.Baseline = &b
	}
	return p, nil
}

func decodeChange(key, value []byte) (uint64, storedChange, error) {
	var c storedChange
	if err := json.Unmarshal(value, &c); err != nil {
		return 0, c, fmt.Errorf("%w: %w", errValue, err)
	}
	if len(key) != 8 || c.Peer == "" || len(c.Peer) > maxName || c.Diagnosis == "" {
		return 0, c, fmt.Errorf("%w: no change", errValue)
	}
	c.Change = c.clip()
	return binary.BigEndian.Uint64(key), c, nil
}
