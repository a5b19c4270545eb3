// Command kubecheck builds a kustomization and decodes each of its objects into the type of its API,
// which refuses unknown and misplaced fields, duplicate keys and wrong types. It prints the objects.
package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: kubecheck DIRECTORY")
		os.Exit(2)
	}
	if err := check(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "kubecheck:", err)
		os.Exit(1)
	}
}

// empty returns an object of a kind to decode into.
func empty(kind string) any {
	switch kind {
	case "Namespace":
		return &core.Namespace{}
	case "ConfigMap":
		return &core.ConfigMap{}
	case "Service":
		return &core.Service{}
	case "StatefulSet":
		return &apps.StatefulSet{}
	case "PodMonitor":
		return &monitoring.PodMonitor{}
	case "PrometheusRule":
		return &monitoring.PrometheusRule{}
	}
	return nil
}

func check(dir string) error {
	all, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return err
	}
	for _, r := range all.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			return err
		}
		object := empty(r.GetKind())
		if object == nil {
			return fmt.Errorf("%s: a kind that is not checked", r.CurId())
		}
		if err := yaml.UnmarshalStrict(text, object); err != nil {
			return fmt.Errorf("%s: %w", r.CurId(), err)
		}
		if set, ok := object.(*apps.StatefulSet); ok {
			if err := agrees(set); err != nil {
				return fmt.Errorf("%s: %w", r.CurId(), err)
			}
		}
	}
	text, err := all.AsYaml()
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(text)
	return err
}

// agrees reports what an API server would refuse, or what would measure wrong peers.
func agrees(s *apps.StatefulSet) error {
	for key, value := range s.Spec.Selector.MatchLabels {
		if s.Spec.Template.Labels[key] != value {
			return fmt.Errorf("pods lack the label %s of the selector", key)
		}
	}
	pod := s.Spec.Template.Spec
	var volumes []string
	for _, v := range pod.Volumes {
		volumes = append(volumes, v.Name)
	}
	for i := range s.Spec.VolumeClaimTemplates {
		volumes = append(volumes, s.Spec.VolumeClaimTemplates[i].Name)
	}
	for i := range pod.Containers {
		c := &pod.Containers[i]
		for _, m := range c.VolumeMounts {
			if !slices.Contains(volumes, m.Name) {
				return fmt.Errorf("container %s: no volume %s", c.Name, m.Name)
			}
		}
		for _, e := range c.Env {
			if want := strconv.Itoa(int(*s.Spec.Replicas)); e.Name == "TOTAL_SHARDS" && e.Value != want {
				return fmt.Errorf("container %s: %s shards, but %s replicas", c.Name, e.Value, want)
			}
		}
	}
	return nil
}
