"""Who may what: bucket policies, public access, ACLs and ownership, requests that nobody signs; and that a change holds
for the next request on every gateway."""
import json
import os
import subprocess
import urllib.error
import urllib.request

import boto3
import botocore.config
import botocore.exceptions
import pytest

from cluster import ROOT
from test_clients import aws, run
from test_s3 import error

ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"
ACCOUNT = "000000000001"
CAIRNCTL = ROOT / "build/rel/bin/cairnctl"


@pytest.fixture
def shared(s3, bucket):
    """A bucket whose access may be given to everybody."""
    s3.delete_public_access_block(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="dir/key", Body=b"body")
    yield bucket
    s3.delete_bucket_policy(Bucket=bucket)


def anonymous(cluster, path, zone=1, method="GET", data=None, **fields):
    """status and body of a request without a signature."""
    request = urllib.request.Request(f"{cluster.endpoint(zone)}/{path}", method=method, data=data,
                                     headers={k.replace("_", "-"): v for k, v in fields.items()})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as e:
        return e.code, e.read()


def policy(bucket, *statements):
    return json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*", **s}
        for s in statements]})


def test_anonymous_by_policy(cluster, s3, shared):
    assert anonymous(cluster, f"{shared}/dir/key")[0] == 403
    s3.put_bucket_policy(Bucket=shared, Policy=policy(shared, {}))
    assert anonymous(cluster, f"{shared}/dir/key") == (200, b"body")
    assert anonymous(cluster, f"{shared}/dir/key", method="HEAD")[0] == 200
    status, body = anonymous(cluster, f"{shared}/none")
    assert status == 403 and b"<Code>AccessDenied</Code>" in body  # it may not list, so it is not told
    assert anonymous(cluster, f"{shared}?list-type=2")[0] == 403
    assert anonymous(cluster, f"{shared}/dir/key", method="PUT", data=b"x")[0] == 403
    assert anonymous(cluster, f"{shared}/dir/key", method="DELETE")[0] == 403
    assert anonymous(cluster, "")[0] == 403
    status, body = anonymous(cluster, "no-such-bucket-here/key")
    assert status == 404 and b"NoSuchBucket" in body
    s3.put_bucket_policy(Bucket=shared, Policy=policy(shared, {}, {
        "Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{shared}"}))
    status, body = anonymous(cluster, f"{shared}/none")
    assert status == 404 and b"<Code>NoSuchKey</Code>" in body
    assert b"<Key>dir/key</Key>" in anonymous(cluster, f"{shared}?list-type=2")[1]


def test_a_changed_policy_holds_everywhere_at_once(cluster, s3, shared):
    on, path = policy(shared, {}), f"{shared}/dir/key"
    for i in range(8):
        s3.put_bucket_policy(Bucket=shared, Policy=on)
        for zone in (2, 3, 1):
            assert anonymous(cluster, path, zone)[0] == 200
        if i % 2:
            s3.delete_bucket_policy(Bucket=shared)
        else:
            s3.put_public_access_block(Bucket=shared, PublicAccessBlockConfiguration={"RestrictPublicBuckets": True})
        for zone in (3, 2, 1):
            assert anonymous(cluster, path, zone)[0] == 403
        s3.delete_public_access_block(Bucket=shared)


def test_conditions(cluster, s3, shared):
    def allowed(condition, **fields):
        s3.put_bucket_policy(Bucket=shared, Policy=policy(shared, {"Condition": condition}))
        return anonymous(cluster, f"{shared}/dir/key", 2, **fields)[0] == 200

    assert allowed({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}})
    assert not allowed({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}})
    assert not allowed({"Bool": {"aws:SecureTransport": "true"}})
    assert allowed({"Bool": {"aws:SecureTransport": "false"}})
    assert allowed({"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}})
    assert not allowed({"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}})
    assert allowed({"NumericGreaterThan": {"aws:EpochTime": "1000000000"}})
    assert allowed({"StringLike": {"aws:Referer": "http://example.com/*"}}, Referer="http://example.com/a")
    assert not allowed({"StringLike": {"aws:Referer": "http://example.com/*"}})
    assert allowed({"StringEquals": {"aws:UserAgent": "me"}}, User_Agent="me")
    assert not allowed({"StringEquals": {"s3:ExistingObjectTag/public": "yes"}})
    s3.put_object_tagging(Bucket=shared, Key="dir/key", Tagging={"TagSet": [{"Key": "public", "Value": "yes"}]})
    assert allowed({"StringEquals": {"s3:ExistingObjectTag/public": "yes"}})


def test_denials_hold_for_the_owner(s3, shared):
    s3.put_bucket_policy(Bucket=shared, Policy=policy(shared, {"Effect": "Deny", "Action": "s3:PutObject", "Condition": {
        "StringNotEquals": {"s3:x-amz-storage-class": "STANDARD_IA"}}}))
    assert error(s3.put_object, Bucket=shared, Key="k", Body=b"") == (403, "AccessDenied")
    s3.put_object(Bucket=shared, Key="k", Body=b"", StorageClass="STANDARD_IA")
    assert error(s3.copy_object, Bucket=shared, Key="c", CopySource=f"{shared}/k") == (403, "AccessDenied")
    deny = policy(shared, {"Effect": "Deny", "Action": "s3:*",
                           "Resource": [f"arn:aws:s3:::{shared}/*", f"arn:aws:s3:::{shared}"]})
    s3.put_bucket_policy(Bucket=shared, Policy=deny)
    assert error(s3.list_objects_v2, Bucket=shared) == (403, "AccessDenied")
    assert error(s3.head_bucket, Bucket=shared)[0] == 403
    deleted = s3.delete_objects(Bucket=shared, Delete={"Objects": [{"Key": "k"}]})
    assert [e["Code"] for e in deleted["Errors"]] == ["AccessDenied"]
    assert json.loads(s3.get_bucket_policy(Bucket=shared)["Policy"]) == json.loads(deny)


def test_policies_that_are_refused(s3, bucket):
    put = lambda document: error(s3.put_bucket_policy, Bucket=bucket, Policy=document)
    assert error(s3.get_bucket_policy, Bucket=bucket) == (404, "NoSuchBucketPolicy")
    assert error(s3.get_bucket_policy_status, Bucket=bucket) == (404, "NoSuchBucketPolicy")
    assert put("{}") == (400, "MalformedPolicy")
    assert put(policy("another")) == (400, "MalformedPolicy")
    assert put(policy(bucket, {"Principal": {"AWS": "999999999999"}})) == (400, "MalformedPolicy")
    assert put(policy(bucket, {"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/nobody"}})) == (400, "MalformedPolicy")
    assert put(policy(bucket, {})) == (403, "AccessDenied")  # public, which is blocked by default
    s3.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, {"Principal": {"AWS": ACCOUNT}}))
    assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"] is False
    s3.delete_bucket_policy(Bucket=bucket)


def test_public_access_block(s3, bucket):
    get = lambda: s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert set(get().values()) == {True} and len(get()) == 4
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={"IgnorePublicAcls": True})
    assert get() == {"BlockPublicAcls": False, "IgnorePublicAcls": True, "BlockPublicPolicy": False,
                     "RestrictPublicBuckets": False}
    s3.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, {}))
    assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"] is True
    s3.delete_public_access_block(Bucket=bucket)
    assert error(s3.get_public_access_block, Bucket=bucket) == (404, "NoSuchPublicAccessBlockConfiguration")
    s3.delete_bucket_policy(Bucket=bucket)


def test_ownership(s3, bucket):
    get = lambda b: s3.get_bucket_ownership_controls(Bucket=b)["OwnershipControls"]["Rules"][0]["ObjectOwnership"]
    assert get(bucket) == "BucketOwnerEnforced"
    owner = s3.get_bucket_acl(Bucket=bucket)["Owner"]["ID"]
    assert s3.list_buckets()["Owner"]["ID"] == owner and len(owner) == 64
    unsupported = (400, "AccessControlListNotSupported")
    assert error(s3.put_bucket_acl, Bucket=bucket, ACL="private") == unsupported
    assert error(s3.put_object, Bucket=bucket, Key="k", Body=b"", ACL="authenticated-read") == unsupported
    s3.put_object(Bucket=bucket, Key="k", Body=b"", ACL="private")  # rclone and s3cmd send it with everything
    assert error(s3.create_multipart_upload, Bucket=bucket, Key="k", ACL="public-read") == unsupported
    s3.put_object(Bucket=bucket, Key="k", Body=b"", ACL="bucket-owner-full-control")
    assert error(s3.put_object_acl, Bucket=bucket, Key="k", ACL="public-read") == unsupported
    s3.put_object_acl(Bucket=bucket, Key="k", AccessControlPolicy={
        key: value for key, value in s3.get_object_acl(Bucket=bucket, Key="k").items() if key in ("Owner", "Grants")})
    assert [g["Permission"] for g in s3.get_object_acl(Bucket=bucket, Key="k")["Grants"]] == ["FULL_CONTROL"]
    other = f"{bucket}-x"
    assert error(s3.create_bucket, Bucket=other, ACL="public-read") == (400, "InvalidBucketAclWithObjectOwnership")
    assert error(s3.create_bucket, Bucket=other, ACL="public-read", ObjectOwnership="ObjectWriter") == \
        (400, "InvalidBucketAclWithBlockPublicAccessError")
    s3.create_bucket(Bucket=other, ACL="private", ObjectOwnership="ObjectWriter",
                     CreateBucketConfiguration={"Tags": [{"Key": "a", "Value": "b"}]})
    assert get(other) == "ObjectWriter"
    assert s3.get_bucket_tagging(Bucket=other)["TagSet"] == [{"Key": "a", "Value": "b"}]
    s3.delete_bucket_ownership_controls(Bucket=other)
    assert error(s3.get_bucket_ownership_controls, Bucket=other) == (404, "OwnershipControlsNotFoundError")
    s3.delete_bucket(Bucket=other)


def test_acls(cluster, s3, shared):
    s3.put_bucket_ownership_controls(Bucket=shared, OwnershipControls={
        "Rules": [{"ObjectOwnership": "BucketOwnerPreferred"}]})
    owner = s3.list_buckets()["Owner"]["ID"]
    path = f"{shared}/dir/key"
    s3.put_object_acl(Bucket=shared, Key="dir/key", ACL="public-read")
    assert [anonymous(cluster, path, zone) for zone in (1, 2, 3)] == [(200, b"body")] * 3
    grants = s3.get_object_acl(Bucket=shared, Key="dir/key")["Grants"]
    assert {"Grantee": {"Type": "Group", "URI": ALL_USERS}, "Permission": "READ"} in grants and len(grants) == 2
    s3.put_object_acl(Bucket=shared, Key="dir/key", AccessControlPolicy={
        "Owner": {"ID": owner}, "Grants": [{"Grantee": {"Type": "CanonicalUser", "ID": owner},
                                            "Permission": "FULL_CONTROL"}]})
    assert [anonymous(cluster, path, zone)[0] for zone in (3, 2, 1)] == [403] * 3
    s3.put_object(Bucket=shared, Key="open", Body=b"x", GrantRead=f'uri="{ALL_USERS}"')
    assert anonymous(cluster, f"{shared}/open", 2)[0] == 200
    s3.copy_object(Bucket=shared, Key="copy", CopySource=f"{shared}/open")  # an ACL is not copied
    assert anonymous(cluster, f"{shared}/copy")[0] == 403
    upload = s3.create_multipart_upload(Bucket=shared, Key="parts", ACL="public-read")["UploadId"]
    part = s3.upload_part(Bucket=shared, Key="parts", UploadId=upload, PartNumber=1, Body=b"y")
    s3.complete_multipart_upload(Bucket=shared, Key="parts", UploadId=upload, MultipartUpload={
        "Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    assert anonymous(cluster, f"{shared}/parts", 3) == (200, b"y")
    s3.put_bucket_acl(Bucket=shared, ACL="public-read-write")
    assert anonymous(cluster, f"{shared}/by-nobody", method="PUT", data=b"z")[0] == 200
    assert b"by-nobody" in anonymous(cluster, shared)[1]
    assert anonymous(cluster, f"{shared}?acl")[0] == 403
    s3.put_public_access_block(Bucket=shared, PublicAccessBlockConfiguration={"BlockPublicAcls": True})
    assert error(s3.put_object_acl, Bucket=shared, Key="open", ACL="public-read") == (403, "AccessDenied")
    assert anonymous(cluster, f"{shared}/open")[0] == 200  # what was given before stays given
    bad = "1" * 64
    assert error(s3.put_object_acl, Bucket=shared, Key="open", GrantRead=f"id={bad}") == (400, "InvalidArgument")
    assert error(s3.put_object_acl, Bucket=shared, Key="open", GrantRead="emailAddress=nobody@example.com") == \
        (400, "UnresolvableGrantByEmailAddress")
    s3.delete_objects(Bucket=shared, Delete={"Objects": [{"Key": "by-nobody"}]})


def test_acls_of_versions(cluster, s3, bucket):
    s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]})
    s3.delete_public_access_block(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first, second = [s3.put_object(Bucket=bucket, Key="k", Body=b)["VersionId"] for b in (b"1", b"2")]
    s3.put_object_acl(Bucket=bucket, Key="k", VersionId=first, ACL="public-read")
    assert anonymous(cluster, f"{bucket}/k", 2)[0] == 403
    assert anonymous(cluster, f"{bucket}/k?versionId={first}", 2) == (200, b"1")
    assert len(s3.get_object_acl(Bucket=bucket, Key="k", VersionId=first)["Grants"]) == 2
    assert len(s3.get_object_acl(Bucket=bucket, Key="k")["Grants"]) == 1
    for version in (first, second):
        s3.delete_object(Bucket=bucket, Key="k", VersionId=version)


def test_who_pays_and_who_is_expected(cluster, s3, shared):
    s3.put_bucket_policy(Bucket=shared, Policy=policy(shared, {}))
    s3.put_bucket_request_payment(Bucket=shared, RequestPaymentConfiguration={"Payer": "Requester"})
    assert anonymous(cluster, f"{shared}/dir/key")[0] == 403
    assert anonymous(cluster, f"{shared}/dir/key", x_amz_request_payer="requester")[0] == 403
    assert "RequestCharged" not in s3.get_object(Bucket=shared, Key="dir/key")
    s3.head_object(Bucket=shared, Key="dir/key", ExpectedBucketOwner=ACCOUNT)
    assert error(s3.get_object, Bucket=shared, Key="dir/key", ExpectedBucketOwner="111122223333") == \
        (403, "AccessDenied")
    assert error(s3.get_object, Bucket=shared, Key="dir/key", ExpectedBucketOwner="me") == \
        (400, "InvalidBucketOwnerAWSAccountID")


# ---- users, of two accounts ----

class User:
    """Of the first account, or of another one that is made for it."""

    def __init__(self, cluster, name, account=None):
        more = ["--account", account] if account else []
        self.ctl = lambda *words: subprocess.run(
            [CAIRNCTL, *words, *more], env=dict(cluster.shell_env(), CAIRN_ENDPOINT=cluster.endpoint(2)), check=True,
            text=True, capture_output=True, timeout=60).stdout
        self.cluster, self.name = cluster, name
        self.made = json.loads(self.ctl("user", "create", name, "--no-policy", "--json"))

    def s3(self, zone=1, **session):
        keys = session or {"aws_access_key_id": self.made["access_key"], "aws_secret_access_key": self.made["secret_key"]}
        return boto3.client("s3", endpoint_url=self.cluster.endpoint(zone), region_name="us-east-1", **keys,
                            config=botocore.config.Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}))


@pytest.fixture(scope="module")
def users(cluster):
    mark = f"{os.getpid():x}"
    made = [User(cluster, f"own-{mark}"), User(cluster, f"tenant-{mark}", f"other-{mark}")]
    yield made
    for user in made:
        user.ctl("user", "delete", user.name)


def statement(action, resource, effect="Allow", **more):
    return json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": effect, "Action": action, "Resource": resource, **more}]})


def test_users(cluster, s3, bucket, users):
    own, iam = users[0], boto3.client("iam", endpoint_url=cluster.endpoint(3), region_name="us-east-1", **dict(zip(
        ("aws_access_key_id", "aws_secret_access_key"), cluster.credentials)))
    s3.put_object(Bucket=bucket, Key="a", Body=b"1")
    assert error(own.s3().get_object, Bucket=bucket, Key="a") == (403, "AccessDenied")
    assert error(own.s3().list_buckets) == (403, "AccessDenied")
    with pytest.raises(botocore.exceptions.ClientError) as told:
        own.s3().get_object(Bucket=bucket, Key="a")
    assert f"{own.made['arn']} is not authorized to perform: s3:GetObject" in str(told.value)
    for zone in (1, 2, 3):  # a policy that was changed through the third gateway holds for the next request on each
        iam.put_user_policy(UserName=own.name, PolicyName="p", PolicyDocument=statement(
            ["s3:GetObject", "s3:ListBucket"], f"arn:aws:s3:::{bucket}*"))
        assert own.s3(zone).get_object(Bucket=bucket, Key="a")["Body"].read() == b"1"
        iam.put_user_policy(UserName=own.name, PolicyName="p", PolicyDocument=statement(
            "s3:GetObject", "*", "Deny"))
        assert error(own.s3(zone).get_object, Bucket=bucket, Key="a") == (403, "AccessDenied")
    # The bucket's policy is enough within the account, but not against a denial.
    s3.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, {
        "Principal": {"AWS": own.made["arn"]}, "Action": ["s3:GetObject", "s3:PutObject"]}))
    assert error(own.s3(2).get_object, Bucket=bucket, Key="a") == (403, "AccessDenied")
    own.s3(2).put_object(Bucket=bucket, Key="b", Body=b"2")
    iam.delete_user_policy(UserName=own.name, PolicyName="p")
    assert own.s3(3).get_object(Bucket=bucket, Key="b")["Body"].read() == b"2"
    # Variables of the policy.
    iam.put_user_policy(UserName=own.name, PolicyName="p", PolicyDocument=statement(
        "s3:*", f"arn:aws:s3:::{bucket}/home/${{aws:username}}/*"))
    own.s3().put_object(Bucket=bucket, Key=f"home/{own.name}/x", Body=b"")
    s3.delete_bucket_policy(Bucket=bucket)
    assert error(own.s3().put_object, Bucket=bucket, Key="home/another/x", Body=b"") == (403, "AccessDenied")
    iam.delete_user_policy(UserName=own.name, PolicyName="p")


def test_accounts(cluster, s3, bucket, users):
    tenant = users[1]
    tenant.ctl("policy", "attach", tenant.name, "arn:aws:iam::aws:policy/AmazonS3FullAccess")
    theirs, mine = tenant.s3(2), f"{bucket}-theirs"
    assert error(theirs.get_object, Bucket=bucket, Key="a") == (403, "AccessDenied")
    assert error(theirs.create_bucket, Bucket=bucket) == (409, "BucketAlreadyExists")
    theirs.create_bucket(Bucket=mine)
    assert [b["Name"] for b in theirs.list_buckets()["Buckets"]] == [mine]
    assert theirs.list_buckets()["Owner"]["ID"] == tenant.made["canonical_id"]
    assert mine not in [b["Name"] for b in s3.list_buckets()["Buckets"]]
    assert error(s3.list_objects_v2, Bucket=mine) == (403, "AccessDenied")  # the operator is no exception
    assert error(s3.get_bucket_policy, Bucket=mine) == (405, "MethodNotAllowed")
    # Both must allow it.
    s3.put_object(Bucket=bucket, Key="a", Body=b"1")
    s3.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, {
        "Principal": {"AWS": tenant.made["account_id"]}, "Action": ["s3:GetObject", "s3:PutObject"]}))
    assert tenant.s3(3).get_object(Bucket=bucket, Key="a", ExpectedBucketOwner=ACCOUNT)["Body"].read() == b"1"
    theirs.copy_object(Bucket=mine, Key="copy", CopySource=f"{bucket}/a", ExpectedSourceBucketOwner=ACCOUNT)
    theirs.put_object(Bucket=bucket, Key="from-them", Body=b"2")  # and is the bucket's owner's
    assert s3.list_objects_v2(Bucket=bucket, Prefix="from", FetchOwner=True)["Contents"][0]["Owner"]["ID"] == \
        s3.list_buckets()["Owner"]["ID"]
    s3.put_bucket_request_payment(Bucket=bucket, RequestPaymentConfiguration={"Payer": "Requester"})
    assert error(theirs.get_object, Bucket=bucket, Key="a") == (403, "AccessDenied")
    assert theirs.get_object(Bucket=bucket, Key="a", RequestPayer="requester")["RequestCharged"] == "requester"
    tenant.ctl("policy", "detach", tenant.name, "arn:aws:iam::aws:policy/AmazonS3FullAccess")
    assert error(theirs.get_object, Bucket=bucket, Key="a", RequestPayer="requester") == (403, "AccessDenied")
    tenant.ctl("policy", "attach", tenant.name, "arn:aws:iam::aws:policy/AmazonS3FullAccess")
    # An ACL names the account.
    s3.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, {"Principal": {"AWS": ACCOUNT}}))
    s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]})
    s3.put_object_acl(Bucket=bucket, Key="a", GrantRead=f"id={tenant.made['canonical_id']}")
    assert theirs.get_object(Bucket=bucket, Key="a", RequestPayer="requester")["Body"].read() == b"1"
    theirs.delete_object(Bucket=mine, Key="copy")
    theirs.delete_bucket(Bucket=mine)
    s3.delete_bucket_policy(Bucket=bucket)


# ---- other clients ----

def test_access_by_aws_cli(cluster, s3, shared, tmp_path):
    document = tmp_path / "policy.json"
    document.write_text(policy(shared, {}))
    api = lambda *a: aws(cluster, "s3api", *a, "--bucket", shared).stdout
    api("put-bucket-policy", "--policy", f"file://{document}")
    assert anonymous(cluster, f"{shared}/dir/key", 3)[0] == 200
    assert "GetObject" in api("get-bucket-policy")
    assert "true" in api("get-bucket-policy-status")
    api("delete-bucket-policy")
    api("put-bucket-ownership-controls", "--ownership-controls", "Rules=[{ObjectOwnership=ObjectWriter}]")
    api("put-object-acl", "--key", "dir/key", "--acl", "public-read")
    assert "AllUsers" in api("get-object-acl", "--key", "dir/key")
    api("put-public-access-block", "--public-access-block-configuration", "IgnorePublicAcls=true")
    assert anonymous(cluster, f"{shared}/dir/key", 2)[0] == 403


def test_access_by_s3cmd(cluster, s3, shared, tmp_path):
    access, secret = cluster.credentials
    config, document = tmp_path / "s3cfg", tmp_path / "policy.json"
    host = cluster.endpoint().removeprefix("http://")
    config.write_text(f"[default]\naccess_key = {access}\nsecret_key = {secret}\nhost_base = {host}\n"
                      f"host_bucket = {host}\nuse_https = False\n")
    document.write_text(policy(shared, {}))
    cmd = lambda *a: run(cluster, "s3cmd", "-c", config, *a).stdout
    cmd("setpolicy", document, f"s3://{shared}")
    assert "GetObject" in cmd("info", f"s3://{shared}")
    cmd("delpolicy", f"s3://{shared}")
    s3.put_bucket_ownership_controls(Bucket=shared, OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]})
    cmd("setacl", "--acl-public", f"s3://{shared}/dir/key")
    assert anonymous(cluster, f"{shared}/dir/key", 2)[0] == 200
    cmd("setacl", "--acl-private", f"s3://{shared}/dir/key")
    assert anonymous(cluster, f"{shared}/dir/key", 3)[0] == 403
