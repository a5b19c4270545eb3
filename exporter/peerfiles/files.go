// Package peerfiles keeps the peers of files beside the configuration, in the format of Prometheus's
// file_sd. Each file stands for itself: one that is broken keeps what it said last, and disturbs no
// other.
//
//	patterns ──list, read──▶ texts ──config.ReadPeers──▶ peers of each file ──▶ one configuration
//	   ▲                                  │ broken, or a name that is in use
//	watch, slow re-read                   └──▶ the last good text of this file
//
// The package decides nothing about what a peer is: package config does. It measures nothing.
package peerfiles

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"ipsec_path_exporter/exporter/config"
)

// Files are the peer files of a configuration. One goroutine at a time may call Complete.
type Files struct {
	log *slog.Logger
	// own reports whether the peers with a key are measured here.
	own func(key string) bool

	base *config.Config // of the last Complete

	mu        sync.Mutex
	files     map[string]*file // by path; a directory that cannot be read is one without content
	unmatched []string
}

// A file is one peer file as it is in use.
type file struct {
	// text is the last good content; used means that there is one.
	text   string
	used   bool
	peers  []config.Peer
	others []config.Other
	// problem is why the newest content is not in use.
	problem error
}

// A Status is the state of one peer file.
type Status struct {
	Path string
	// Peers is the number of its peers that are measured here.
	Peers int
	// Problem is why its newest content is not in use, nil if it is.
	Problem error
}

// New makes Files that have read nothing yet. own reports whether a peer is measured here, by its
// config.Peer.Key.
func New(log *slog.Logger, own func(key string) bool) *Files {
	return &Files{log: log, own: own}
}

// Read returns a configuration with the peers of its files, and all problems of these.
func Read(base *config.Config) (*config.Config, error) {
	f := New(slog.New(slog.DiscardHandler), func(string) bool { return true })
	cfg, _, err := f.Complete(base)
	return cfg, errors.Join(err, f.Problems())
}

// Status returns the state of all files, sorted by path.
func (f *Files) Status() []Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]Status, 0, len(f.files))
	for path, one := range f.files {
		all = append(all, Status{Path: path, Peers: len(one.peers), Problem: one.problem})
	}
	slices.SortFunc(all, func(a, b Status) int { return cmp.Compare(a.Path, b.Path) })
	return all
}

// Problems returns the problems of all files.
func (f *Files) Problems() error {
	var all []error
	for _, s := range f.Status() {
		all = append(all, s.Problem)
	}
	return errors.Join(all...)
}

// Unmatched returns the patterns that no file matches.
func (f *Files) Unmatched() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.unmatched
}

// Complete reads the files of a configuration and returns it with their peers. A file that is broken
// keeps its last good content. changed reports whether the result differs from the last one. It fails,
// and changes nothing, if a file that is in use does not go with this configuration.
func (f *Files) Complete(base *config.Config) (cfg *config.Config, changed bool, err error) {
	p := &plan{before: f.files, base: base, same: f.base == base}
	p.find(base.PeerFiles)
	if err := p.settle(); err != nil {
		return nil, false, err
	}
	cfg, next := p.complete(f.own)
	for path, one := range next {
		f.logTurn(path, f.files[path], one)
	}
	for _, path := range slices.Sorted(maps.Keys(f.files)) {
		if next[path] == nil {
			f.log.Info("peer file is gone", "file", path)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.base, f.files, f.unmatched = base, next, p.unmatched
	return cfg, !p.same || p.changed(), nil
}

// logTurn logs that a file becomes broken, is broken in another way, or is good again.
func (f *Files) logTurn(path string, before, now *file) {
	was, is := "", ""
	if before != nil && before.problem != nil {
		was = before.problem.Error()
	}
	if now.problem != nil {
		is = now.problem.Error()
	}
	switch {
	case was == is:
	case is == "":
		f.log.Info("peer file is in use again", "file", path)
	case now.used:
		f.log.Error("peer file is broken; keeping its last good content", "file", path, "err", now.problem)
	default:
		f.log.Error("peer file is broken; none of its peers is measured", "file", path, "err", now.problem)
	}
}

// find lists and reads the files of patterns. A directory that cannot be read keeps its files: they
// would all be gone at once where a file system fails.
func (p *plan) find(patterns []string) {
	seen := make(map[string]bool)
	add := func(c *candidate) {
		if !seen[c.path] {
			seen[c.path] = true
			c.before = p.before[c.path]
			p.all = append(p.all, c)
		}
	}
	for _, pattern := range patterns {
		dir, base := filepath.Split(pattern)
		dir = filepath.Clean(dir)
		entries, err := os.ReadDir(dir)
		if err != nil {
			add(&candidate{path: dir, problem: fmt.Errorf("cannot list the peer files: %w", err)})
			for path, before := range p.before {
				if matched, _ := filepath.Match(base, filepath.Base(path)); matched && filepath.Dir(path) == dir && before.used {
					add(&candidate{path: path, text: before.text})
				}
			}
			continue
		}
		matches := 0
		for _, e := range entries {
			if matched, _ := filepath.Match(base, e.Name()); matched { // the pattern is valid
				matches++
				path := filepath.Join(dir, e.Name())
				text, err := read(path)
				add(&candidate{path: path, text: text, problem: err})
			}
		}
		if matches == 0 {
			p.unmatched = append(p.unmatched, pattern)
		}
	}
	slices.SortFunc(p.all, func(a, b *candidate) int { return cmp.Compare(a.path, b.path) })
}

// read reads a regular file of a limited size. It does not wait for one that is a pipe.
func read(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|withoutWaiting, 0)
	if err != nil {
		return "", fmt.Errorf("cannot read the peer file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", fmt.Errorf("cannot read the peer file: %w", err)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("cannot read the peer file: %w", &fs.PathError{Op: "read", Path: path, Err: errNotRegular})
	}
	text, err := io.ReadAll(io.LimitReader(f, config.MaxPeerFile+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("cannot read the peer file: %w", err)
	case len(text) > config.MaxPeerFile:
		return "", fmt.Errorf("%s: %w of %d bytes (divide it)", path, errTooLarge, config.MaxPeerFile)
	}
	return string(text), nil
}

var (
	errNotRegular = errors.New("not a regular file")
	errTooLarge   = errors.New("is larger than the limit")
)
