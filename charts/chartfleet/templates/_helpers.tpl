{{/* The release's name for things: at most 52 characters, so that "-controller" still fits into 63. */}}
{{- define "chartfleet.name" -}}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) -}}
{{- $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "chartfleet.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "chartfleet.labels" -}}
{{ include "chartfleet.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "chartfleet.image" -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{/* What every Pod says of itself: Pod Security "restricted", and where it may run. A token is each template's own affair. */}}
{{- define "chartfleet.pod" -}}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "chartfleet.container" -}}
image: {{ include "chartfleet.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* Addresses come out of Secrets: they hold passwords. Arguments: root, key (of the database Secret, for a login of its own). */}}
{{- define "chartfleet.databaseEnv" -}}
{{- $database := .root.Values.database -}}
{{- if and $database.host (not .key) -}}
- {name: CHARTFLEET_DATABASE_URL, value: {{ printf "postgresql://%s@%s:%v/%s" $database.user $database.host $database.port $database.name | quote }}}
- name: PGPASSWORD
{{- else -}}
- name: CHARTFLEET_DATABASE_URL
{{- end }}
  valueFrom:
    secretKeyRef:
      name: {{ include "chartfleet.databaseSecret" .root }}
      key: {{ .key | default $database.key }}
{{- end -}}

{{- define "chartfleet.databaseSecret" -}}
{{- required "database.existingSecret: name a Secret whose key holds the database's URL" .Values.database.existingSecret -}}
{{- end -}}

{{- define "chartfleet.brokerEnv" -}}
- name: CHARTFLEET_BROKER_URL
  valueFrom:
    secretKeyRef:
      name: {{ required "broker.existingSecret: name a Secret whose key holds the broker's URL" .Values.broker.existingSecret }}
      key: {{ .Values.broker.key }}
{{- end -}}

{{/* One directory of documents: the repositories and, beside them, the Secrets that they name. */}}
{{- define "chartfleet.repositoriesVolume" -}}
- name: repositories
  projected:
    defaultMode: 0440
    sources:
      - configMap: {name: {{ include "chartfleet.name" . }}-repositories}
      {{- with .Values.repositorySecrets.existingSecret }}
      - secret: {name: {{ . }}}
      {{- end }}
{{- end -}}

{{/* The account that a process talks to the API server with. Arguments: root, component. */}}
{{- define "chartfleet.account" -}}
{{- $own := printf "%s-%s" (include "chartfleet.name" .root) .component -}}
{{- ternary (.root.Values.controller.serviceAccount | default $own) $own (eq .component "controller") -}}
{{- end -}}

{{/* The namespaces that Jobs run in, as JSON; none: all of them. Clean-up Jobs are always in the release's own. */}}
{{- define "chartfleet.jobNamespaces" -}}
{{- $layout := .Values.controller.jobs.namespace -}}
{{- $watched := .Values.controller.watchNamespaces -}}
{{- if eq $layout "release" -}}
{{- list .Release.Namespace | toJson -}}
{{- else if $watched -}}
{{- prepend $watched .Release.Namespace | uniq | toJson -}}
{{- else -}}
[]
{{- end -}}
{{- end -}}

{{/*
Rights of an account: a Role in each of `namespaces`, a ClusterRole where none is named. Arguments: root, component (whose account), what
(the end of the role's name), namespaces, rules.
*/}}
{{- define "chartfleet.role" -}}
{{- $name := printf "%s-%s" (include "chartfleet.name" .root) .what -}}
{{- $labels := include "chartfleet.labels" (dict "root" .root "component" .component) -}}
{{- $subject := dict "kind" "ServiceAccount" "name" (include "chartfleet.account" .) "namespace" .root.Release.Namespace -}}
{{- $kind := ternary "Role" "ClusterRole" (not (empty .namespaces)) -}}
{{- $wide := printf "%s-%s" .root.Release.Namespace $name -}}
{{- $rules := .rules -}}
{{- range $namespace := .namespaces | default (list "") }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}
metadata:
  name: {{ ternary $name $wide (ne $namespace "") }}
  {{- with $namespace }}
  namespace: {{ . }}
  {{- end }}
  labels: {{- $labels | nindent 4 }}
rules: {{- $rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}Binding
metadata:
  name: {{ ternary $name $wide (ne $namespace "") }}
  {{- with $namespace }}
  namespace: {{ . }}
  {{- end }}
  labels: {{- $labels | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: {{ $kind }}, name: {{ ternary $name $wide (ne $namespace "") }}}
subjects: {{- list $subject | toYaml | nindent 2 }}
{{- end }}
{{- end -}}

{{/* A list flag of pflag's kind is a line of CSV. Arguments: flag, map. */}}
{{- define "chartfleet.pairs" -}}
{{- range $name, $value := .map }}
{{- $pair := printf "%s=%v" $name $value }}
{{- if or (contains "," $pair) (contains "\"" $pair) }}{{- $pair = printf "\"%s\"" (replace "\"" "\"\"" $pair) }}{{- end }}
- {{ printf "%s=%s" $.flag $pair | quote }}
{{- end }}
{{- end -}}
