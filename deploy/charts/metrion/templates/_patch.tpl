{{- /*
Strategic merge, as in `kubectl patch`: maps are merged, null removes a field, lists of named items are merged by name
($patch: delete removes one), other lists are replaced. (dict "base" <map> "patch" <map>); changes base in place.
*/ -}}
{{- define "metrion.patch" -}}
{{- $base := .base -}}
{{- $keys := dict "containers" "name" "initContainers" "name" "env" "name" "volumes" "name" "volumeMounts" "mountPath" "ports" "name"
  "imagePullSecrets" "name" "hostAliases" "ip" "topologySpreadConstraints" "topologyKey" -}}
{{- range $field, $value := .patch -}}
{{- $old := index $base $field -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := unset $base $field -}}
{{- else if and (kindIs "map" $value) (kindIs "map" $old) -}}
{{- include "metrion.patch" (dict "base" $old "patch" $value) -}}
{{- else if and (hasKey $keys $field) (kindIs "slice" $value) (kindIs "slice" $old) -}}
{{- $merged := include "metrion.patchList" (dict "base" $old "patch" $value "key" (index $keys $field)) -}}
{{- $_ := set $base $field (fromJsonArray $merged) -}}
{{- else -}}
{{- $_ := set $base $field $value -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* (dict "base" <list> "patch" <list> "key" "name"): the merged list as JSON. */ -}}
{{- define "metrion.patchList" -}}
{{- $key := .key -}}
{{- $merged := list -}}
{{- $changed := list -}}
{{- range $item := .base -}}
{{- $keep := true -}}
{{- range $change := $.patch -}}
{{- if eq (toString (index $change $key)) (toString (index $item $key)) -}}
{{- $changed = append $changed (toString (index $change $key)) -}}
{{- if eq (toString (index $change "$patch")) "delete" -}}
{{- $keep = false -}}
{{- else -}}
{{- include "metrion.patch" (dict "base" $item "patch" $change) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $keep -}}{{- $merged = append $merged $item -}}{{- end -}}
{{- end -}}
{{- range $change := .patch -}}
{{- if and (not (has (toString (index $change $key)) $changed)) (ne (toString (index $change "$patch")) "delete") -}}
{{- $merged = append $merged $change -}}
{{- end -}}
{{- end -}}
{{- toJson $merged -}}
{{- end -}}

{{- /* (dict "object" "<YAML>" "patch" <map>): the object with the patch of values.yaml, as YAML. */ -}}
{{- define "metrion.patched" -}}
{{- $object := fromYaml .object -}}
{{- if hasKey $object "Error" }}{{ fail (printf "a value produces invalid YAML: %s" $object.Error) }}{{ end -}}
{{- include "metrion.patch" (dict "base" $object "patch" (deepCopy (.patch | default dict))) -}}
{{- toYaml $object -}}
{{- end -}}

{{- /* (list <map> <map> …): the maps merged, the last one wins, as YAML. */ -}}
{{- define "metrion.merged" -}}
{{- $merged := dict -}}
{{- range . -}}
{{- range $name, $value := . | default dict -}}
{{- if kindIs "invalid" $value -}}{{- $_ := unset $merged $name -}}{{- else -}}{{- $_ := set $merged $name $value -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $merged -}}
{{- end -}}
