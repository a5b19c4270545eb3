package ikeprobe

import "ipsec_path_exporter/internal/enum"

// String returns the version as it is configured: "auto", "1" or "2".
func (v Version) String() string { return enum.Name(v, "auto", "1", "2") }

// String returns the method as it is configured: "psk", "xauth" or "rsa".
func (a Auth) String() string { return enum.Name(a, "psk", "xauth", "rsa") }

// String names the form: "v2-badke", "v2-major3", "v2-noprop", "v1-main" or "v1-minor".
func (f Form) String() string {
	return enum.Name(f, "v2-badke", "v2-major3", "v2-noprop", "v1-main", "v1-minor")
}

// Version is the IKE version that the form belongs to.
func (f Form) Version() Version {
	if f == V1Main || f == V1Minor {
		return V1
	}
	return V2
}

// Ladder returns the forms to try for a version, in order, one probe at a time.
func Ladder(v Version) []Form {
	switch v {
	case V1:
		return []Form{V1Main, V1Minor}
	case V2:
		return []Form{V2BadKE, V2Major3, V2NoProp}
	default:
		return []Form{V2BadKE, V2Major3, V2NoProp, V1Main, V1Minor}
	}
}
