// Package partners connects the exporters at both ends of a path: it reads the keys of partners,
// and answers the partners of the configured peers with STAMP (RFC 8762; internal/session).
//
//	configuration, key files ──every 10 s──▶ session.Reflector ◀──▶ netio.Endpoint ◀──▶ partners
//
// Nothing listens unless partners.listen is configured. The other direction, asking a partner, is
// the collector of the name partner.
package partners

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/internal/session"
)

// ReadKeys reads the keys of a partner: the one that requests are made with, and the next one,
// whose file may be missing. Errors name the file and show nothing of its content.
func ReadKeys(p config.Partner) (session.Keys, error) {
	key, err := readKey(p.KeyFile)
	if err != nil {
		return nil, err
	}
	keys := session.Keys{key}
	if p.NextKeyFile == "" {
		return keys, nil
	}
	next, err := readKey(p.NextKeyFile)
	switch {
	case errors.Is(err, fs.ErrNotExist): // no change of keys is under way
	case err != nil:
		return nil, err
	default:
		keys = append(keys, next)
	}
	return keys, nil
}

var errNoRegularFile = errors.New("is no regular file")

func readKey(file string) (session.Key, error) {
	// A pipe would block, and a device may never end.
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() {
		return session.Key{}, fmt.Errorf("key of a partner: %s: %w", file, errNoRegularFile)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return session.Key{}, fmt.Errorf("key of a partner: %w", err)
	}
	key, err := session.ParseKey(content)
	if err != nil {
		return session.Key{}, fmt.Errorf("key of a partner: %s: %w", file, err)
	}
	return key, nil
}

// othersRead is the permission that the file of a secret must not have.
const othersRead = 0o004

// Problems returns what is wrong with the key files of a configuration.
func Problems(cfg *config.Config) (lines []string) {
	seen := make(map[string]bool)
	var with int
	for i := range cfg.Peers {
		p := cfg.Peers[i].Partner
		if !p.Configured() {
			continue
		}
		with++
		if p.KeyFile == "" || seen[p.KeyFile] {
			continue
		}
		seen[p.KeyFile] = true
		if _, err := ReadKeys(p); err != nil {
			lines = append(lines, fmt.Sprintf("peer %s: %v", cfg.Peers[i].Name, err))
		} else if info, err := os.Stat(p.KeyFile); err == nil && info.Mode().Perm()&othersRead != 0 {
			lines = append(lines, fmt.Sprintf("peer %s: the key of its partner %s is readable by every user of this host: remove that permission (chmod o-r)",
				cfg.Peers[i].Name, p.KeyFile))
		}
	}
	if cfg.Partners.Port != 0 && with == 0 {
		lines = append(lines, "partners.listen: no peer has a partner, so nothing is answered (set partner.key_file of a peer)")
	}
	return lines
}
