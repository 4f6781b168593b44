"""IAM and STS as clients call them, users, their keys and sessions at work, and cairnctl's commands for them."""
import itertools
import json
import os
import subprocess
import time
import urllib.error
import urllib.request

import boto3
import botocore.config
import botocore.exceptions
import pytest

from cluster import ROOT

CAIRNCTL = ROOT / "build" / "rel" / "bin" / "cairnctl"
S3_FULL = "arn:aws:iam::aws:policy/AmazonS3FullAccess"
S3_READ = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
_serial = itertools.count(1)


def unique(prefix):
    return f"{prefix}{os.getpid()}-{next(_serial)}"


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)}, indent=1)


def allow(action, resource="*", **more):
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def trust(principal, **more):
    return document({"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole", **more})


def refused(code, call, *args, **kwargs):
    with pytest.raises(botocore.exceptions.ClientError) as error:
        call(*args, **kwargs)
    assert error.value.response["Error"]["Code"] == code, error.value
    return error.value.response


class Who:
    """Clients with some keys."""

    def __init__(self, cluster, access_key, secret_key, token=None):
        self.cluster, self.keys = cluster, (access_key, secret_key, token)

    def client(self, service, zone=1, region="us-east-1"):
        access, secret, token = self.keys
        config = botocore.config.Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"},
                                        connect_timeout=5, read_timeout=60,
                                        signature_version="s3v4" if service == "s3" else "v4")
        return boto3.client(service, endpoint_url=self.cluster.endpoint(zone), aws_access_key_id=access,
                            aws_secret_access_key=secret, aws_session_token=token, region_name=region, config=config)

    @classmethod
    def session(cls, cluster, credentials):
        return cls(cluster, credentials["AccessKeyId"], credentials["SecretAccessKey"], credentials["SessionToken"])


@pytest.fixture(scope="module")
def root(cluster):
    return Who(cluster, *cluster.credentials)


@pytest.fixture(scope="module")
def iam(root):
    return root.client("iam")


@pytest.fixture
def make_user(cluster, iam):
    """A user with keys of its own, and policies given; gone afterwards."""
    made = []

    def make(*attached, **inlined):
        name = unique("u")
        iam.create_user(UserName=name)
        made.append(name)
        for arn in attached:
            iam.attach_user_policy(UserName=name, PolicyArn=arn)
        for policy, text in inlined.items():
            iam.put_user_policy(UserName=name, PolicyName=policy, PolicyDocument=text)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        who = Who(cluster, key["AccessKeyId"], key["SecretAccessKey"])
        who.name = name
        return who

    yield make
    for name in made:
        remove_user(iam, name)


def remove_user(iam, name):
    for key in iam.list_access_keys(UserName=name)["AccessKeyMetadata"]:
        iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
    for policy in iam.list_attached_user_policies(UserName=name)["AttachedPolicies"]:
        iam.detach_user_policy(UserName=name, PolicyArn=policy["PolicyArn"])
    for policy in iam.list_user_policies(UserName=name)["PolicyNames"]:
        iam.delete_user_policy(UserName=name, PolicyName=policy)
    for group in iam.list_groups_for_user(UserName=name)["Groups"]:
        iam.remove_user_from_group(UserName=name, GroupName=group["GroupName"])
    iam.delete_user(UserName=name)


# ---- IAM ----


def test_users(iam):
    name = unique("Alice")
    made = iam.create_user(UserName=name, Path="/staff/", Tags=[{"Key": "team", "Value": "ä b"}])
    user = made["User"]
    assert made["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"] == made["ResponseMetadata"]["RequestId"]
    assert user["UserId"].startswith("AIDA") and user["Path"] == "/staff/" and user["CreateDate"].tzinfo
    assert user["Arn"].startswith("arn:aws:iam::") and user["Arn"].endswith(f":user/staff/{name}")
    refused("EntityAlreadyExists", iam.create_user, UserName=name.lower())
    assert iam.get_user(UserName=name)["User"]["Tags"] == [{"Key": "team", "Value": "ä b"}]
    iam.tag_user(UserName=name, Tags=[{"Key": "a", "Value": ""}])
    iam.untag_user(UserName=name, TagKeys=["team"])
    assert iam.list_user_tags(UserName=name)["Tags"] == [{"Key": "a", "Value": ""}]
    iam.update_user(UserName=name, NewPath="/", NewUserName=name + "2")
    assert refused("NoSuchEntity", iam.get_user, UserName=name)["ResponseMetadata"]["HTTPStatusCode"] == 404
    names = [u["UserName"] for p in iam.get_paginator("list_users").paginate(PaginationConfig={"PageSize": 1}) for u in p["Users"]]
    assert name + "2" in names
    iam.delete_user(UserName=name + "2")
    assert iam.get_user()["User"]["Arn"].endswith(":root")
    assert iam.get_account_summary()["SummaryMap"]["GroupsPerUserQuota"] == 10
    assert iam.list_account_aliases()["AccountAliases"] == []
    refused("ValidationError", iam.create_user, UserName="no spaces")
    refused("InvalidAction", iam.list_mfa_devices)


def test_groups(iam):
    user, group = unique("u"), unique("g")
    iam.create_user(UserName=user)
    iam.create_group(GroupName=group, Path="/x/")
    iam.add_user_to_group(GroupName=group, UserName=user)
    assert [u["UserName"] for u in iam.get_group(GroupName=group)["Users"]] == [user]
    assert [g["GroupName"] for g in iam.list_groups_for_user(UserName=user)["Groups"]] == [group]
    assert group in [g["GroupName"] for g in iam.list_groups()["Groups"]]
    refused("DeleteConflict", iam.delete_group, GroupName=group)
    refused("DeleteConflict", iam.delete_user, UserName=user)
    iam.put_group_policy(GroupName=group, PolicyName="p", PolicyDocument=document(allow("s3:*")))
    assert iam.get_group_policy(GroupName=group, PolicyName="p")["PolicyDocument"]["Statement"][0]["Action"] == "s3:*"
    assert iam.list_group_policies(GroupName=group)["PolicyNames"] == ["p"]
    iam.delete_group_policy(GroupName=group, PolicyName="p")
    iam.remove_user_from_group(GroupName=group, UserName=user)
    iam.delete_group(GroupName=group)
    iam.delete_user(UserName=user)


def test_policies(iam):
    user, name = unique("u"), unique("p")
    iam.create_user(UserName=user)
    arn = iam.create_policy(PolicyName=name, Path="/t/", Description="d", PolicyDocument=document(allow("s3:GetObject")),
                            Tags=[{"Key": "k", "Value": "v"}])["Policy"]["Arn"]
    assert arn.endswith(f":policy/t/{name}")
    refused("MalformedPolicyDocument", iam.create_policy, PolicyName=unique("p"), PolicyDocument="{}")
    refused("LimitExceeded", iam.create_policy, PolicyName=unique("p"), PolicyDocument=document(allow("s3:*", "arn:aws:s3:::" + "x" * 6200)))
    assert iam.create_policy_version(PolicyArn=arn, PolicyDocument=document(allow("s3:*")), SetAsDefault=True)["PolicyVersion"]["VersionId"] == "v2"
    assert iam.get_policy_version(PolicyArn=arn, VersionId="v2")["PolicyVersion"]["Document"]["Statement"][0]["Action"] == "s3:*"
    assert [v["VersionId"] for v in iam.list_policy_versions(PolicyArn=arn)["Versions"]] == ["v2", "v1"]
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v1")
    iam.delete_policy_version(PolicyArn=arn, VersionId="v2")
    iam.attach_user_policy(UserName=user, PolicyArn=arn)
    assert iam.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"] == 1
    assert iam.list_entities_for_policy(PolicyArn=arn)["PolicyUsers"][0]["UserName"] == user
    assert iam.list_attached_user_policies(UserName=user)["AttachedPolicies"] == [{"PolicyName": name, "PolicyArn": arn}]
    refused("DeleteConflict", iam.delete_policy, PolicyArn=arn)
    refused("NoSuchEntity", iam.attach_user_policy, UserName=user, PolicyArn=arn + "x")
    iam.put_user_permissions_boundary(UserName=user, PermissionsBoundary=S3_READ)
    assert iam.get_user(UserName=user)["User"]["PermissionsBoundary"]["PermissionsBoundaryArn"] == S3_READ
    iam.delete_user_permissions_boundary(UserName=user)
    iam.detach_user_policy(UserName=user, PolicyArn=arn)
    iam.delete_policy(PolicyArn=arn)
    iam.delete_user(UserName=user)
    names = [p["PolicyName"] for p in iam.list_policies(Scope="AWS")["Policies"]]
    assert names == ["AdministratorAccess", "AmazonS3FullAccess", "AmazonS3ReadOnlyAccess", "IAMFullAccess", "IAMReadOnlyAccess"]
    assert iam.get_policy_version(PolicyArn=S3_FULL, VersionId="v2")["PolicyVersion"]["IsDefaultVersion"]


def test_roles(iam, root):
    name = unique("r")
    account = root.client("sts").get_caller_identity()["Account"]
    refused("MalformedPolicyDocument", iam.create_role, RoleName=name, AssumeRolePolicyDocument=trust("111122223333"))
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust(account), MaxSessionDuration=7200)["Role"]
    assert role["RoleId"].startswith("AROA") and role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {"AWS": account}
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=trust(f"arn:aws:iam::{account}:root"))
    iam.update_role(RoleName=name, Description="new", MaxSessionDuration=3600)
    assert iam.get_role(RoleName=name)["Role"]["MaxSessionDuration"] == 3600
    assert name in [r["RoleName"] for r in iam.list_roles()["Roles"]]
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=document(allow("s3:*")))
    iam.attach_role_policy(RoleName=name, PolicyArn=S3_FULL)
    refused("DeleteConflict", iam.delete_role, RoleName=name)
    iam.detach_role_policy(RoleName=name, PolicyArn=S3_FULL)
    iam.delete_role_policy(RoleName=name, PolicyName="p")
    iam.delete_role(RoleName=name)


def test_users_may_what_their_policies_allow(make_user, iam):
    me = make_user(own=document(allow("iam:*AccessKey*", "arn:aws:iam::*:user/${aws:username}"), allow("iam:GetUser")))
    mine = me.client("iam")
    assert mine.get_user()["User"]["UserName"] == me.name
    refused("AccessDenied", mine.list_users)
    refused("AccessDenied", mine.create_user, UserName=unique("u"))
    refused("AccessDenied", mine.create_access_key, UserName="someone")
    second = mine.create_access_key()["AccessKey"]
    refused("LimitExceeded", mine.create_access_key)
    mine.delete_access_key(AccessKeyId=second["AccessKeyId"])
    # A changed policy holds for the next request.
    iam.put_user_policy(UserName=me.name, PolicyName="own", PolicyDocument=document(allow("iam:ListUsers")))
    assert mine.list_users()["Users"]
    refused("AccessDenied", mine.get_user)


def test_many_at_once(cluster, root, iam):
    """Changes of the same rows through all gateways: each counts once."""
    import concurrent.futures
    group, users = unique("g"), [unique("u") for _ in range(6)]
    iam.create_group(GroupName=group)
    for user in users:
        iam.create_user(UserName=user)
    clients = [root.client("iam", zone) for zone in (1, 2, 3)]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda i: clients[i % 3].add_user_to_group(GroupName=group, UserName=users[i]), range(6)))
        assert len(iam.get_group(GroupName=group)["Users"]) == 6
        list(pool.map(lambda i: clients[i % 3].remove_user_from_group(GroupName=group, UserName=users[i]), range(6)))
    iam.delete_group(GroupName=group)
    for user in users:
        iam.delete_user(UserName=user)


def test_refusals(cluster, root):
    wrong = Who(cluster, root.keys[0], "wrong" * 8)
    assert refused("SignatureDoesNotMatch", wrong.client("iam").list_users)["ResponseMetadata"]["HTTPStatusCode"] == 403
    refused("InvalidClientTokenId", Who(cluster, "AKIANOBODYNOBODY1234", "x" * 40).client("sts").get_caller_identity)
    bad_token = Who(cluster, *root.keys[:2], "AQ" * 100)
    refused("InvalidClientTokenId", bad_token.client("sts").get_caller_identity)
    refused("InvalidToken", bad_token.client("s3").list_buckets)
    # Any region's clients find IAM, as they do at AWS under its one name.
    assert root.client("sts").get_caller_identity()["Account"]


# ---- keys ----


def test_a_key_is_refused_at_once_everywhere(make_user, iam):
    me = make_user(S3_FULL)
    clients = [me.client("sts", zone) for zone in (1, 2, 3)]
    for client in clients:
        assert client.get_caller_identity()["Arn"].endswith(me.name)
    for status in ("Inactive", "Active", "Inactive", "Active"):
        iam.update_access_key(UserName=me.name, AccessKeyId=me.keys[0], Status=status)
        for client in clients:
            if status == "Active":
                client.get_caller_identity()
            else:
                refused("InvalidClientTokenId", client.get_caller_identity)
    iam.delete_access_key(UserName=me.name, AccessKeyId=me.keys[0])
    for client in clients:
        refused("InvalidClientTokenId", client.get_caller_identity)
    refused("InvalidAccessKeyId", me.client("s3", 2).list_buckets)


# ---- STS ----


def test_identity_and_session_tokens(cluster, make_user, root):
    me = make_user(S3_FULL)
    mine = me.client("sts")
    identity = mine.get_caller_identity()
    assert identity["UserId"].startswith("AIDA") and identity["Arn"].endswith(f":user/{me.name}")
    credentials = mine.get_session_token(DurationSeconds=900)["Credentials"]
    assert credentials["AccessKeyId"].startswith("ASIA")
    assert 800 < credentials["Expiration"].timestamp() - time.time() < 1000
    session = Who.session(cluster, credentials)
    for zone in (1, 2, 3):
        assert session.client("sts", zone).get_caller_identity()["Arn"] == identity["Arn"]
    refused("AccessDenied", session.client("sts").get_session_token)
    refused("AccessDenied", session.client("iam").list_users)
    # The token goes with its own key only.
    refused("InvalidClientTokenId", Who(cluster, *me.keys[:2], credentials["SessionToken"]).client("sts").get_caller_identity)
    refused("InvalidClientTokenId", Who(cluster, *session.keys[:2]).client("sts").get_caller_identity)
    roots = Who.session(cluster, root.client("sts").get_session_token()["Credentials"])
    assert roots.client("sts").get_caller_identity()["Arn"].endswith(":root")
    assert root.client("sts").get_access_key_info(AccessKeyId=me.keys[0])["Account"] == identity["Account"]


def test_assume_role(cluster, make_user, iam, root):
    name, account = unique("r"), root.client("sts").get_caller_identity()["Account"]
    me, other = make_user(own=document(allow("sts:AssumeRole"))), make_user(S3_FULL)
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust(account))["Role"]["Arn"]
    refused("AccessDenied", root.client("sts").assume_role, RoleArn=arn, RoleSessionName="ses")
    refused("AccessDenied", other.client("sts").assume_role, RoleArn=arn, RoleSessionName="ses")
    answer = me.client("sts").assume_role(RoleArn=arn, RoleSessionName="ses", DurationSeconds=900)
    assert answer["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{account}:assumed-role/{name}/ses"
    session = Who.session(cluster, answer["Credentials"])
    identity = session.client("sts", 2).get_caller_identity()
    assert identity["Arn"] == answer["AssumedRoleUser"]["Arn"] and identity["UserId"].endswith(":ses")
    refused("AccessDenied", session.client("iam").list_users)
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=document(allow("iam:List*")))
    assert session.client("iam", 3).list_users()["Users"]
    # A session policy makes it less, never more.
    narrow = me.client("sts").assume_role(RoleArn=arn, RoleSessionName="ses", Policy=document(allow(["iam:ListRoles", "iam:GetUser"])))
    narrowed = Who.session(cluster, narrow["Credentials"]).client("iam")
    assert narrowed.list_roles()["Roles"]
    refused("AccessDenied", narrowed.list_users)
    refused("AccessDenied", narrowed.get_user, UserName=me.name)
    # Gone, and made anew under the name: another role.
    iam.delete_role_policy(RoleName=name, PolicyName="p")
    iam.delete_role(RoleName=name)
    refused("InvalidClientTokenId", session.client("sts").get_caller_identity)
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust(account))
    refused("InvalidClientTokenId", session.client("sts").get_caller_identity)
    iam.delete_role(RoleName=name)


# ---- at work with S3 ----


def test_users_at_work(cluster, make_user, iam, bucket, s3):
    """What a user may follows its policies from the next request on, through whichever gateway."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"of the root user")
    me = make_user(S3_FULL)
    clients = [me.client("s3", zone) for zone in (1, 2, 3)]
    mine = unique("b")
    clients[0].create_bucket(Bucket=mine)
    clients[1].put_object(Bucket=mine, Key="a", Body=b"mine")
    assert clients[2].get_object(Bucket=mine, Key="a")["Body"].read() == b"mine"
    assert {bucket, mine} <= {b["Name"] for b in clients[1].list_buckets()["Buckets"]}  # of one account
    assert clients[1].get_object(Bucket=bucket, Key="k")["Body"].read() == b"of the root user"
    iam.attach_user_policy(UserName=me.name, PolicyArn=S3_READ)
    iam.detach_user_policy(UserName=me.name, PolicyArn=S3_FULL)
    for client in clients:
        refused("AccessDenied", client.put_object, Bucket=mine, Key="b", Body=b"")
        assert client.get_object(Bucket=mine, Key="a")["Body"].read() == b"mine"
    iam.put_user_policy(UserName=me.name, PolicyName="deny", PolicyDocument=document(
        {"Effect": "Deny", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{mine}/*"}))
    for client in clients:
        refused("AccessDenied", client.get_object, Bucket=mine, Key="a")
        assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"of the root user"
    iam.delete_user_policy(UserName=me.name, PolicyName="deny")
    # By a group, within a boundary.
    group = unique("g")
    iam.create_group(GroupName=group)
    iam.put_group_policy(GroupName=group, PolicyName="w", PolicyDocument=document(allow("s3:PutObject"), allow("s3:DeleteObject")))
    iam.add_user_to_group(GroupName=group, UserName=me.name)
    clients[2].put_object(Bucket=mine, Key="b", Body=b"")
    iam.put_user_permissions_boundary(UserName=me.name, PermissionsBoundary=S3_READ)
    refused("AccessDenied", clients[0].put_object, Bucket=mine, Key="b", Body=b"")
    iam.delete_user_permissions_boundary(UserName=me.name)
    clients[0].put_object(Bucket=mine, Key="b", Body=b"")
    iam.update_access_key(UserName=me.name, AccessKeyId=me.keys[0], Status="Inactive")
    for client in clients:
        refused("InvalidAccessKeyId", client.get_object, Bucket=mine, Key="a")
    for key in "ab":
        s3.delete_object(Bucket=mine, Key=key)
    s3.delete_bucket(Bucket=mine)
    iam.remove_user_from_group(GroupName=group, UserName=me.name)
    iam.delete_group_policy(GroupName=group, PolicyName="w")
    iam.delete_group(GroupName=group)


def test_sessions_at_work(cluster, make_user, iam, root, bucket, s3):
    s3.put_object(Bucket=bucket, Key="a/1", Body=b"one")
    s3.put_object(Bucket=bucket, Key="b/1", Body=b"two")
    name, me = unique("r"), make_user()
    account = root.client("sts").get_caller_identity()["Account"]
    iam.put_user_policy(UserName=me.name, PolicyName="p", PolicyDocument=document(allow("sts:AssumeRole")))
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust(account))["Role"]["Arn"]
    iam.attach_role_policy(RoleName=name, PolicyArn=S3_FULL)
    refused("AccessDenied", me.client("s3").get_object, Bucket=bucket, Key="a/1")
    wide = Who.session(cluster, me.client("sts").assume_role(RoleArn=arn, RoleSessionName="wide")["Credentials"]).client("s3", 2)
    assert wide.get_object(Bucket=bucket, Key="b/1")["Body"].read() == b"two"
    wide.copy_object(Bucket=bucket, Key="b/2", CopySource={"Bucket": bucket, "Key": "b/1"})
    narrow = Who.session(cluster, me.client("sts").assume_role(
        RoleArn=arn, RoleSessionName="narrow", PolicyArns=[{"arn": S3_READ}],
        Policy=document(allow("s3:PutObject", f"arn:aws:s3:::{bucket}/a/*")))["Credentials"]).client("s3", 3)
    assert narrow.get_object(Bucket=bucket, Key="a/1")["Body"].read() == b"one"
    narrow.put_object(Bucket=bucket, Key="a/2", Body=b"new")
    refused("AccessDenied", narrow.put_object, Bucket=bucket, Key="b/2", Body=b"new")
    refused("AccessDenied", narrow.delete_object, Bucket=bucket, Key="a/2")
    # Presigned, the token goes along.
    url = narrow.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "a/2"})
    assert urllib.request.urlopen(url).read() == b"new"
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(url.replace("X-Amz-Security-Token=A", "X-Amz-Security-Token=B"))
    assert error.value.code in (400, 403)
    # A session of the user itself; one of the root user.
    iam.attach_user_policy(UserName=me.name, PolicyArn=S3_READ)
    own = Who.session(cluster, me.client("sts").get_session_token()["Credentials"]).client("s3", 3)
    assert own.get_object(Bucket=bucket, Key="a/1")["Body"].read() == b"one"
    refused("AccessDenied", own.put_object, Bucket=bucket, Key="a/3", Body=b"")
    roots = Who.session(cluster, root.client("sts").get_session_token()["Credentials"]).client("s3", 2)
    roots.put_object(Bucket=bucket, Key="a/3", Body=b"")
    # The role goes, and its sessions with it.
    iam.detach_role_policy(RoleName=name, PolicyArn=S3_FULL)
    refused("AccessDenied", wide.get_object, Bucket=bucket, Key="b/1")
    iam.delete_role(RoleName=name)
    refused("InvalidToken", wide.get_object, Bucket=bucket, Key="b/1")


def test_aws_cli(cluster):
    def aws(*args):
        done = subprocess.run(["aws", "--endpoint-url", cluster.endpoint(), *args], env=cluster.shell_env(), text=True,
                              capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    name = unique("cli")
    assert aws("iam", "create-user", "--user-name", name)["User"]["UserName"] == name
    aws("iam", "delete-user", "--user-name", name)
    assert aws("sts", "get-caller-identity")["Arn"].endswith(":root")


# ---- cairnctl ----


@pytest.fixture(scope="module")
def ctl(cluster):
    def call(*args, status=0, stdin="", **env):
        done = subprocess.run([CAIRNCTL, *args], env=dict(cluster.shell_env(), CAIRN_ENDPOINT=cluster.endpoint(2), **env),
                              text=True, capture_output=True, input=stdin, timeout=60)
        assert done.returncode == status, f"{args}: {done.returncode} {done.stdout}{done.stderr}"
        if status:
            return done.stderr
        return json.loads(done.stdout) if "--json" in args else done.stdout
    return call


def test_cairnctl_user(cluster, ctl, iam):
    name = unique("op")
    made = ctl("user", "create", name, "--json")
    assert set(made) >= {"user_id", "user_name", "arn", "account_id", "canonical_id", "display_name", "email", "access_key", "secret_key"}
    assert made["arn"] == f"arn:aws:iam::{made['account_id']}:user/{name}" and len(made["canonical_id"]) > 20
    assert made["policies"] == [S3_FULL]
    who = Who(cluster, made["access_key"], made["secret_key"])
    assert who.client("sts", 3).get_caller_identity()["UserId"] == made["user_id"]
    assert iam.get_user(UserName=name)["User"]["UserId"] == made["user_id"]
    assert "already exists" in ctl("user", "create", name, status=2)
    assert name in [u["user_name"] for u in ctl("user", "list", "--json")["users"]]
    assert name in ctl("user", "list")
    assert ctl("policy", "detach", name, S3_FULL, "--json")["policies"] == []
    assert ctl("policy", "attach", name, S3_READ, "--json")["policies"] == [S3_READ]
    assert "not exist" in ctl("policy", "attach", name, S3_READ + "x", status=2)
    second = ctl("key", "create", name, "--json")
    assert "quota" in ctl("key", "create", name, status=2)
    assert len(ctl("key", "list", name, "--json")["keys"]) == 2
    ctl("key", "delete", name, made["access_key"])
    refused("InvalidClientTokenId", who.client("sts").get_caller_identity)
    shown = ctl("user", "show", name)
    assert second["access_key"] in shown and "secret" not in shown
    iam.create_group(GroupName=name + "g")
    iam.add_user_to_group(GroupName=name + "g", UserName=name)
    ctl("user", "delete", name)  # with all it has
    iam.delete_group(GroupName=name + "g")
    refused("InvalidClientTokenId", Who(cluster, second["access_key"], second["secret_key"]).client("sts", 3).get_caller_identity)
    assert "cannot be found" in ctl("user", "show", name, status=2)


def test_cairnctl_accounts(cluster, ctl, bucket):
    account, name = unique("tenant"), unique("op")
    key = unique("KEY").replace("-", "")
    made = ctl("user", "create", name, "--account", account, "--display-name", "Ten Ant", "--email", f"{account}@example.com",
               "--access-key", key, "--secret-key", "-", "--json", stdin="secret-of-the-tenant\n")
    assert (made["access_key"], made["secret_key"]) == (key, "secret-of-the-tenant")
    assert made["display_name"] == "Ten Ant" and made["email"] == f"{account}@example.com" and made["account_name"] == account
    tenant = Who(cluster, key, "secret-of-the-tenant")
    assert tenant.client("sts").get_caller_identity()["Account"] == made["account_id"]
    theirs = unique("t")
    tenant.client("s3").create_bucket(Bucket=theirs)
    listed = tenant.client("s3", 3).list_buckets()
    assert [b["Name"] for b in listed["Buckets"]] == [theirs]
    assert listed["Owner"]["ID"] == made["canonical_id"]
    refused("BucketAlreadyExists", tenant.client("s3").create_bucket, Bucket=bucket)
    refused("AccessDenied", tenant.client("s3").list_objects_v2, Bucket=bucket)
    other = ctl("user", "create", name + "2", "--account", made["account_id"], "--access-key", key + "2", "--no-policy", "--json",
                CAIRN_SECRET_KEY="another-secret")
    assert other["canonical_id"] == made["canonical_id"] and other["policies"] == []
    refused("AccessDenied", Who(cluster, key + "2", "another-secret").client("s3").list_objects_v2, Bucket=theirs)
    tenant.client("s3").delete_bucket(Bucket=theirs)
    assert "already" in ctl("user", "create", name + "3", "--account", account, "--access-key", key, "--secret-key", "secret-stolen", status=2)
    assert "email" in ctl("user", "create", name, "--account", account + "x", "--email", f"{account}@example.com", status=2)
    assert "secret key is not known" in ctl("user", "create", name + "3", "--access-key", key + "3", status=2)
    assert [a for a in ctl("account", "list", "--json")["accounts"] if a["account_id"] == made["account_id"]][0]["name"] == account
    assert "already" in ctl("account", "create", account, status=2)
    assert "no account" in ctl("user", "list", "--account", unique("none"), status=2)
    for user in (name, name + "2"):
        ctl("user", "delete", user, "--account", account)
    # Only the operator may.
    tenant = ctl("user", "create", name, "--account", account, "--json")
    assert "AccessDenied" in ctl("user", "list", status=2, AWS_ACCESS_KEY_ID=tenant["access_key"], AWS_SECRET_ACCESS_KEY=tenant["secret_key"])
    ctl("user", "delete", name, "--account", account)


def test_cairnctl_usage(ctl):
    for words in (("user", "create"), ("user", "list"), ("user", "show"), ("user", "delete"), ("key", "create"), ("key", "list"),
                  ("key", "delete"), ("policy", "attach"), ("policy", "detach"), ("account", "create"), ("account", "list")):
        said = ctl(*words, "--help")
        assert f"usage: cairnctl {' '.join(words)}" in said and "Exit status" in said and "--json" in said
    assert "usage" in ctl("user", status=2) and "usage" in ctl("key", "nonsense", status=2)
    assert "takes NAME" in ctl("user", "create", status=2)
    assert "takes USER ARN" in ctl("policy", "attach", "x", status=2)
