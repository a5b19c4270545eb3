package peerfiles

import (
	"errors"
	"slices"

	"ipsec_path_exporter/exporter/config"
)

// A plan finds out which content of each file is to be used with a configuration.
type plan struct {
	before map[string]*file
	base   *config.Config
	// same means that the configuration is that of before.
	same bool
	all  []*candidate // sorted by path
	// unmatched are the patterns without a file.
	unmatched []string
}

// A candidate is one file as it was read.
type candidate struct {
	path   string
	before *file // nil for a new file
	// text is what was read, problem why it cannot be used.
	text    string
	problem error

	// use is the content to use, if any is.
	use  string
	used bool
	// peers are those of use if it was decoded; otherwise those of before still hold.
	peers   []config.Peer
	decoded bool
	// proposed means that use is new, and that the file may go back to its last good content.
	proposed bool
	// rejected means that what was read is good and has a name of another file.
	rejected bool
}

// errConflict means that a name is in use elsewhere.
var errConflict = errors.New("a name is in use")

// settle decides about all files. It fails if the last good content of a file is not valid any more.
func (p *plan) settle() error {
	var failures []error
	for _, c := range p.all {
		failures = append(failures, c.decide(p))
	}
	if err := errors.Join(failures...); err != nil {
		return err
	}
	if p.same && !slices.ContainsFunc(p.all, func(c *candidate) bool { return c.proposed }) {
		return nil
	}
	for c, owner := p.conflict(); c != nil; c, owner = p.conflict() {
		if err := p.reject(c, owner); err != nil {
			return err
		}
	}
	return p.retry()
}

// reject takes the last good content of a file in place of one with a name of another file.
func (p *plan) reject(c, owner *candidate) error {
	err := p.explain(c, owner)
	if !c.proposed {
		return err
	}
	c.problem, c.rejected = err, true
	return c.goBack(p)
}

// retry tries rejected contents again, each alone: the file that had the name may have gone back to
// other names itself.
func (p *plan) retry() error {
	for _, c := range p.all {
		c.proposed = false // it is settled
	}
	for again := true; again; {
		again = false
		for _, c := range p.all {
			if !c.rejected || c.decode(p) != nil {
				continue
			}
			if found, owner := p.conflict(); found != nil {
				if err := p.reject(c, owner); err != nil {
					return err
				}
				continue
			}
			c.problem, c.rejected, c.proposed, again = nil, false, false, true
		}
	}
	return nil
}

// decide takes what was read, or the last good content if that is broken.
func (c *candidate) decide(p *plan) (err error) {
	if c.problem != nil {
		return c.goBack(p)
	}
	if c.before != nil && c.before.used && c.before.text == c.text {
		return c.goBack(p) // it is the last good content
	}
	if c.problem = c.decode(p); c.problem != nil {
		return c.goBack(p)
	}
	return nil
}

// decode takes what was read.
func (c *candidate) decode(p *plan) (err error) {
	if c.peers, err = p.base.ReadPeers(c.path, []byte(c.text), nil); err == nil {
		c.use, c.used, c.decoded, c.proposed = c.text, true, true, true
	}
	return err
}

// goBack takes the last good content, if there is one.
func (c *candidate) goBack(p *plan) (err error) {
	c.proposed, c.used, c.decoded, c.use, c.peers = false, false, false, "", nil
	if c.before == nil || !c.before.used {
		return nil
	}
	c.use, c.used = c.before.text, true
	if !p.same {
		c.decoded = true
		c.peers, err = p.base.ReadPeers(c.path, []byte(c.use), nil)
	}
	return err
}

// conflict returns the first file with a name that another one has, and the owner of that name: nil
// for the configuration itself. What is in use already comes before what is new.
func (p *plan) conflict() (found, owner *candidate) {
	claims := make(map[string]*candidate)
	claim := func(c *candidate, name, group string) bool {
		for _, n := range []string{name, group} {
			if n == "" {
				continue
			}
			// Both halves of one peer claim its configured name.
			if first, taken := claims[n]; taken && (first != c || n == name) {
				owner = first
				return false
			}
			claims[n] = c
		}
		return true
	}
	for i := range p.base.Peers {
		claim(nil, p.base.Peers[i].Name, p.base.Peers[i].Group)
	}
	for i := range p.base.Others {
		claim(nil, p.base.Others[i].Name, p.base.Others[i].Group)
	}
	for _, proposed := range []bool{false, true} {
		for _, c := range p.all {
			if c.used && c.proposed == proposed && !c.claims(claim) {
				return c, owner
			}
		}
	}
	return nil, nil
}

// claims calls claim with the names of the file's peers while it returns true.
func (c *candidate) claims(claim func(c *candidate, name, group string) bool) bool {
	peers, others := c.peers, []config.Other(nil)
	if !c.decoded {
		peers, others = c.before.peers, c.before.others
	}
	for i := range peers {
		if !claim(c, peers[i].Name, peers[i].Group) {
			return false
		}
	}
	for i := range others {
		if !claim(c, others[i].Name, others[i].Group) {
			return false
		}
	}
	return true
}

// explain returns the problem of a file with a name of another one, with both places.
func (p *plan) explain(c, owner *candidate) error {
	_, err := p.base.ReadPeers(c.path, []byte(c.use), func(name string) (place string, ok bool) {
		if owner == nil {
			place, ok = p.base.Places[name]
			return place, ok
		}
		place, ok = owner.place(p.base, name)
		return place, ok
	})
	if err == nil {
		err = &config.Error{File: c.path, Text: errConflict.Error()}
	}
	return err
}

// place returns where the file names a peer.
func (c *candidate) place(base *config.Config, name string) (place string, ok bool) {
	has := false
	c.claims(func(_ *candidate, n, group string) bool {
		has = has || n == name || group == name
		return !has
	})
	if !has {
		return "", false
	}
	return base.PlaceOf(name, c.path, []byte(c.use)), true
}

// changed reports whether what is used differs from before.
func (p *plan) changed() bool {
	used := 0
	for _, c := range p.all {
		if !c.used {
			continue
		}
		used++
		if c.before == nil || !c.before.used || c.before.text != c.use {
			return true
		}
	}
	for _, f := range p.before {
		if f.used {
			used--
		}
	}
	return used != 0
}

// complete returns the configuration with the peers of all files, and the files as they are then in
// use. Peers are kept once, as a part of the configuration.
func (p *plan) complete(own func(key string) bool) (*config.Config, map[string]*file) {
	cfg, files := *p.base, make(map[string]*file, len(p.all))
	if len(p.all) == 0 {
		return &cfg, files
	}
	peers, others := len(cfg.Peers), len(cfg.Others)
	for _, c := range p.all {
		f := &file{text: c.use, used: c.used, problem: c.problem}
		switch {
		case c.decoded:
			f.peers, f.others = config.Split(c.peers, own)
		case c.used:
			f.peers, f.others = c.before.peers, c.before.others
		}
		files[c.path] = f
		peers, others = peers+len(f.peers), others+len(f.others)
	}
	cfg.Peers = append(make([]config.Peer, 0, peers), cfg.Peers...)
	cfg.Others = append(make([]config.Other, 0, others), cfg.Others...)
	for _, c := range p.all {
		f, n, m := files[c.path], len(cfg.Peers), len(cfg.Others)
		cfg.Peers, cfg.Others = append(cfg.Peers, f.peers...), append(cfg.Others, f.others...)
		f.peers, f.others = slices.Clip(cfg.Peers[n:]), slices.Clip(cfg.Others[m:])
	}
	return &cfg, files
}
