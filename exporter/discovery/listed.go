package discovery

import (
	"fmt"
	"slices"
	"strings"
)

// maxNamed bounds how many peers one line of the log names.
const maxNamed = 20

// logListed logs which peers come from which gateway, once for each change. Of a gateway that has
// answered, it is worth a line that it lists no peer.
func (d *Discovery) logListed(sources []source, listed map[string][]string) {
	now := make(map[string][]string, len(sources))
	for _, from := range sources {
		if from.gatewayPeers == nil || !from.answered {
			continue
		}
		g := from.gateway
		before, known := d.listed[g.Name]
		now[g.Name] = listed[g.Name]
		added, gone := without(now[g.Name], before), without(before, now[g.Name])
		if known && len(added)+len(gone) == 0 {
			continue
		}
		d.log.Info("gateway lists peers", "gateway", g.Name, "type", g.Type.String(), "peers", len(now[g.Name]),
			"added", Names(added), "removed", Names(gone))
	}
	d.listed = now
}

// Listed returns the peers that each gateway gave, by its name.
func (d *Discovery) Listed() map[string][]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.listed
}

// without returns the elements of all that are not in others; both are sorted.
func without(all, others []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool {
		_, found := slices.BinarySearch(others, s)
		return found
	})
}

// Names returns names as one text, at most 20 of them and the number of the others.
func Names(all []string) string {
	if left := len(all) - maxNamed; left > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:maxNamed], ", "), left)
	}
	return strings.Join(all, ", ")
}
