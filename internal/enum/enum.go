// Package enum gives the values of small closed sets their names, for labels, reports and logs. A
// value without a name is "unknown".
package enum

// Name returns the name at position v, or "unknown" if there is none.
func Name[E ~uint8](v E, names ...string) string {
	if int(v) < len(names) {
		return names[v]
	}
	return "unknown"
}
